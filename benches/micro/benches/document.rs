//! What it costs to judge a saved document: one of 1 MB as editors save it, and the hostile twins of its XML.

use std::hint::black_box;
use std::io::Cursor;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rapidpm_gateway::document::xml::{Profile, check as well_formed};
use rapidpm_gateway::document::{self, Kind, Limits};
use standin::zip::document as docx;

fn documents(c: &mut Criterion) {
    let bytes = docx("docx", &"A paragraph as people write them, with <, & and ö.\n".repeat(9_000));
    let judge =
        |bytes: &[u8]| document::check(&mut Cursor::new(bytes), "docx", &Limits::default(), &|| false);
    assert!(judge(&bytes).is_ok_and(|kind| kind == Kind::Docx));
    let mut group = c.benchmark_group("document");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("docx", |b| b.iter(|| judge(black_box(&bytes))));
    group.finish();
}

fn xml(c: &mut Criterion) {
    let profile = Profile { doctype: false, namespaces: true, depth: 10_000 };
    let attributes: String = (0..20_000).map(|n| format!(" a{n}='{n}'")).collect();
    let prefixes: String = (0..4_000).map(|n| format!(" xmlns:p{n}='u'")).collect();
    let cases = [
        ("text", format!("<a>{}</a>", "Text und mehr Text. ".repeat(50_000))),
        ("cells", format!("<s xmlns='u'>{}</s>", "<c r=\"A1\" s=\"3\" t=\"n\"><v>17</v></c>".repeat(30_000))),
        ("attributes", format!("<a{attributes}/>")),
        ("prefixes", format!("<a{prefixes}>{}</a>", "<p0:b/>".repeat(10_000))),
        ("deep", "<a>".repeat(10_000) + &"</a>".repeat(10_000)),
        ("hyphens", format!("<a><!--{}--></a>", "- ".repeat(500_000))),
    ];
    let mut group = c.benchmark_group("xml");
    for (name, text) in cases {
        assert_eq!(well_formed(text.as_bytes(), profile), Ok(()), "{name}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| well_formed(black_box(text.as_bytes()), profile)));
    }
    group.finish();
}

criterion_group!(benches, documents, xml);
criterion_main!(benches);
