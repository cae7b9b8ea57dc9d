//! Signing secrets that anybody would try first: defaults of images and manuals, and words around "secret".

/// Pieces that such secrets are made of, in lower case, letters and digits only. Whatever consists of nothing else
/// (`my_jwt_secret`, `Change-Me-Please!`, `your-256-bit-secret`) is well known, however long it is.
const PIECES: &str = "\
    a abc abcdef abcdefghijklmnopqrstuvwxyz asdfghjkl qwertyuiop access admin an api app apple asdf at auth bar base64 baz bit bits callback change changed \
    changeit changeme code config default demo dev development docs document documentserver dont dragon \
    editor env example foo for gateway god guest hello here hmac hs hunter2 i iloveyou in insert is it \
    jwt key key1 least letmein local localhost login long love master me monkey my no none not null \
    office only onlyoffice pass passphrase passw0rd password please private prod production pwd qwerty \
    random rapidpm replace root s3cr3t s3cret sample secret secretkey secure security server set sha \
    shared shh shhh shhhh sign signature signing some string strong super supersecret symmetric temp \
    test testing that the this to todo token top true undefined unsafe use user value verify very wallet \
    welcome with wopi word world xxx yes you your zxcvbn";

/// Digits in a row that may stand between pieces: years, `256`, `123456`. Longer rows may be random.
const DIGITS: usize = 10;

/// Whether a secret is one that is tried first.
pub fn is_well_known(secret: &[u8]) -> bool {
    let plain: Vec<u8> =
        secret.iter().filter(|b| b.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
    let Some(first) = secret.first() else { return true };
    let repeated = secret.iter().all(|b| b == first) || (1..=DIGITS).any(|block| repeats(secret, block));
    let number = plain.len() < 2 * DIGITS && plain.iter().all(u8::is_ascii_digit);
    // What is left out above must not be what makes it strong.
    let others = secret.len() - plain.len();
    repeated || number || (others <= plain.len() / 2 + 4 && consists_of_pieces(&plain))
}

/// Whether the same few bytes come three times or more, and nothing else.
fn repeats(secret: &[u8], block: usize) -> bool {
    secret.len() >= 3 * block && secret.iter().zip(&secret[block..]).all(|(a, b)| a == b)
}

/// Whether pieces, put one behind the other, make up the whole.
fn consists_of_pieces(plain: &[u8]) -> bool {
    let mut reached = vec![false; plain.len() + 1];
    reached[0] = true;
    for at in 0..plain.len() {
        if !reached[at] {
            continue;
        }
        let rest = &plain[at..];
        for piece in PIECES.split(' ').filter(|piece| rest.starts_with(piece.as_bytes())) {
            reached[at + piece.len()] = true;
        }
        for digits in 1..=rest.iter().take(DIGITS).take_while(|b| b.is_ascii_digit()).count() {
            if !rest.get(digits).is_some_and(u8::is_ascii_digit) {
                reached[at + digits] = true;
            }
        }
    }
    reached[plain.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_tries_is_refused() {
        for secret in [
            "secret",
            "SECRET",
            "Secret!",
            "verysecretstring",
            "my_jwt_secret",
            "mysecret",
            "changeme",
            "change-me",
            "password",
            "Passw0rd",
            "your-256-bit-secret",
            "your-512-bit-secret",
            "a-string-secret-at-least-256-bits-long",
            "supersecret",
            "jwt_secret",
            "JWT-Secret-Key",
            "secretkey",
            "your_jwt_secret",
            "your-secret-key",
            "123456",
            "1234567890",
            "qwerty",
            "onlyoffice",
            "OnlyOffice2024",
            "ONLY_OFFICE_SECRET",
            "<jwt-secret>",
            "test",
            "test123",
            "shhhh",
            "s3cr3t",
            "topsecret",
            "default",
            "token",
            "key",
            "private",
            "admin",
            "letmein",
            "hello world",
            "null",
            "undefined",
            "x",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "00000000000000000000000000000000",
            "this-is-a-very-long-secret-key-for-jwt-signing",
            "replace-me-with-a-random-string",
            "secret123",
            "123456789012345",
            "01234567890123456789012345678901234567890",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "correctcorrectcorrectcorrectcorrect",
            "rapidpm",
        ] {
            assert!(is_well_known(secret.as_bytes()), "{secret}");
        }
    }

    #[test]
    fn what_somebody_made_up_is_not() {
        for secret in [
            "correct horse battery staple",
            "q7f0Zb1nR4kLx8Vt2mYw",
            "9f86d081884c7d659a2feaa0c55ad015",
            "83650192736455018273645501827364",
            "n0t-in-any-l1st-Zk8",
            "\u{1}\u{2}secret\u{fe}\u{fd}\u{80}\u{81}\u{82}\u{83}\u{84}",
        ] {
            assert!(!is_well_known(secret.as_bytes()), "{secret}");
        }
    }
}
