#!/usr/bin/python3
"""Stores documents with a password, which LibreOffice's command line cannot: arguments are the folder that make.py filled.

Needs Debian's python3-uno, hence its Python. Run by run.sh.
"""
import pathlib
import subprocess
import sys
import time

import uno
from com.sun.star.beans import NamedValue, PropertyValue

JOBS = [
    ("text.odt", "odt", "writer8"), ("text.odt", "docx", "MS Word 2007 XML"), ("text.odt", "pdf", "writer_pdf_Export"),
    ("table.ods", "ods", "calc8"), ("table.ods", "xlsx", "Calc MS Excel 2007 XML"), ("table.ods", "xls", "MS Excel 97"),
    ("slides.odp", "odp", "impress8"), ("slides.odp", "pptx", "Impress MS PowerPoint 2007 XML"), ("text.odt", "doc", "MS Word 97"),
]


def properties(**values):
    return tuple(PropertyValue(Name=name, Value=value) for name, value in values.items())


def desktop(pipe):
    context = uno.getComponentContext()
    resolver = context.ServiceManager.createInstanceWithContext("com.sun.star.bridge.UnoUrlResolver", context)
    for _ in range(120):
        try:
            remote = resolver.resolve(f"uno:pipe,name={pipe};urp;StarOffice.ComponentContext")
            return remote.ServiceManager.createInstanceWithContext("com.sun.star.frame.Desktop", remote)
        except Exception:  # noqa: BLE001 - it has not started yet; UNO names this in several ways
            time.sleep(0.5)
    sys.exit("LibreOffice did not start")


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    out = folder / "protected"
    out.mkdir(exist_ok=True)
    pipe = f"documents-{folder.stat().st_ino}"
    office = subprocess.Popen(["soffice", f"-env:UserInstallation=file://{folder}/.profile", "--headless", "--norestore",
                               f"--accept=pipe,name={pipe};urp;"])
    made = 0
    try:
        suite = desktop(pipe)
        for source, extension, output in JOBS:
            document = suite.loadComponentFromURL((folder / "out" / source).as_uri(), "_blank", 0, properties(Hidden=True))
            target = out / f"{pathlib.Path(source).stem}.{extension}"
            if extension == "pdf":
                data = uno.Any("[]com.sun.star.beans.PropertyValue", properties(EncryptFile=True, DocumentOpenPassword="geheim"))
                document.storeToURL(target.as_uri(), properties(FilterName=output, FilterData=data))
            elif len(extension) == 4:  # OOXML does not look at the property that all others do
                words = (NamedValue("CryptoType", "Standard"), NamedValue("OOXPassword", "geheim"))
                data = uno.Any("[]com.sun.star.beans.NamedValue", words)
                document.storeToURL(target.as_uri(), properties(FilterName=output, EncryptionData=data))
            else:
                document.storeToURL(target.as_uri(), properties(FilterName=output, Password="geheim"))
            document.close(True)
            if len(extension) == 4 and target.read_bytes()[:2] == b"PK":
                sys.exit(f"{target} is not encrypted")
            made += target.exists()
        suite.terminate()
    finally:
        office.wait(30)
    print(f"made {made} of {len(JOBS)} documents with a password")


main()
