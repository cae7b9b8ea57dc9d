#!/usr/bin/env python3
"""Makes documents of every type with LibreOffice, plain and password-protected, in the folder given as argument.

Run by run.sh. Sources are made here, so that nothing of others is needed: a text with a table, headings and a picture, a
table with formulas, a presentation.
"""
import base64
import pathlib
import subprocess
import sys

PICTURE = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
).decode()
TEXT = f"""<html><head><meta charset="utf-8"><title>Überschrift &amp; Text</title></head><body>
<h1>Überschrift</h1><p>Grüße, 日本語, العربية &lt;&amp;&gt;</p><table border="1"><tr><td>1</td><td>2</td></tr></table>
<img src="data:image/png;base64,{PICTURE}"><ul><li>eins</li><li>zwei</li></ul>{"<p>Absatz</p>" * 200}</body></html>"""
TABLE = "Name;Wert\n" + "".join(f"Zeile {n};{n * 1.5}\n" for n in range(2000))
SLIDES = """<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0" office:version="1.3"
 office:mimetype="application/vnd.oasis.opendocument.presentation"><office:body><office:presentation>
 <draw:page draw:name="1"><draw:frame svg:width="10cm" svg:height="5cm" svg:x="1cm" svg:y="1cm"><draw:text-box>
 <text:p>Folie &amp; mehr</text:p></draw:text-box></draw:frame></draw:page></office:presentation></office:body></office:document>
"""
# Source, its import filter, and what it becomes; a filter is named where the extension alone means another module.
JOBS = [
    ("text.html", "HTML (StarWriter)",
     ["odt", "ott", "fodt", "docx:MS Word 2007 XML", "docm:MS Word 2007 XML VBA", "dotx:MS Word 2007 XML Template", "doc:MS Word 97",
      "rtf", "pdf:writer_pdf_Export", "txt:Text", "epub", "html:HTML (StarWriter)"]),
    ("table.csv", "Text - txt - csv (StarCalc)",
     ["ods", "ots", "fods", "xlsx:Calc MS Excel 2007 XML", "xlsm:Calc MS Excel 2007 VBA XML", "xltx:Calc MS Excel 2007 XML Template",
      "xls:MS Excel 97", "pdf:calc_pdf_Export", "csv", "html:HTML (StarCalc)"]),
    ("slides.fodp", None,
     ["odp", "otp", "fodp", "pptx:Impress MS PowerPoint 2007 XML", "pptm:Impress MS PowerPoint 2007 XML VBA",
      "ppsx:Impress MS PowerPoint 2007 XML AutoPlay", "potx:Impress MS PowerPoint 2007 XML Template", "ppt:MS PowerPoint 97",
      "pdf:impress_pdf_Export"]),
]


def convert(source, infilter, target, folder):
    command = ["soffice", f"-env:UserInstallation=file://{folder}/.profile", "--headless", "--convert-to", target,
               "--outdir", str(folder / "out")]
    if infilter:
        command.append(f"--infilter={infilter}")
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, timeout=120, check=False)
    made = folder / "out" / f"{source.stem}.{target.split(':')[0]}"
    if not made.exists():
        print(f"not made: {target} of {source.name}: {done.stderr.strip()[-200:]}")
    return made


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("text.html", TEXT), ("table.csv", TABLE), ("slides.fodp", SLIDES)):
        (folder / name).write_text(text, encoding="utf-8")
    made = [convert(folder / source, infilter, target, folder) for source, infilter, targets in JOBS for target in targets]
    print(f"made {sum(path.exists() for path in made)} of {len(made)} documents with LibreOffice")


main()
