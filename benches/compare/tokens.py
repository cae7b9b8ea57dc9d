"""The token that the protected loads show, and those that nobody may accept in its place."""

import base64
import hashlib
import hmac
import json


def encode(part):
    raw = part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(claims, secret, algorithm="HS256"):
    hashes = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}
    signed = f"{encode({'alg': algorithm, 'typ': 'JWT'})}.{encode(claims)}"
    signature = hmac.new(secret.encode(), signed.encode(), hashes[algorithm]).digest() if algorithm in hashes else b""
    return f"{signed}.{encode(signature)}"


def open_claims(key, expires):
    """What an integrator signs when a user opens a document, with the fields that real ones have."""
    return {
        "iat": expires - 3600, "exp": expires,
        "document": {"fileType": "pdf", "key": key, "title": "Report.pdf", "url": "https://rapidpm.uk/files/4711/Report.pdf",
                     "permissions": {"edit": True, "download": True, "print": True}},
        "documentType": "pdf",
        "editorConfig": {"callbackUrl": "https://rapidpm.uk/onlyoffice/callback?id=4711", "lang": "en", "mode": "edit",
                         "user": {"id": "u1", "name": "User u1"},
                         "customization": {"forcesave": True, "autosave": True, "compactHeader": True}},
        "width": "100%", "height": "100%", "type": "desktop",
    }


def session_claims(key, expires):
    """What a Document Server signs in its place once the document is open; uploads need one of these."""
    claims = open_claims(key, expires)
    claims["editorConfig"] |= {"ds_sessionTimeConnect": expires * 1000, "ds_view": False, "ds_isCloseCoAuthoring": False}
    return claims


def good(key, secret, now, claims_of=open_claims):
    """Good for longer than any comparison takes."""
    return sign(claims_of(key, int(now) + 12 * 3600), secret)


def bad(key, secret, now, claims_of=open_claims):
    """What a proxy that checks tokens refuses: name to token; None is no token at all."""
    claims = claims_of(key, int(now) + 12 * 3600)
    signed, signature = sign(claims, secret).rsplit(".", 1)
    altered = ("B" if signature[0] == "A" else "A") + signature[1:]
    return {
        "no token": None,
        "an altered signature": f"{signed}.{altered}",
        "another secret": sign(claims, secret[::-1]),
        "alg none": sign(claims, secret, "none"),
        "alg none with the old signature": f"{encode({'alg': 'none', 'typ': 'JWT'})}.{encode(claims)}.{signature}",
        "HS512": sign(claims, secret, "HS512"),
        "an expired token": sign(claims_of(key, int(now) - 3600), secret),
    }
