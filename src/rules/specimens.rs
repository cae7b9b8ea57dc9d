//! Claims of every class in the shapes that are really met: captured ones, and those of integrators' documentation.

use serde_json::{Value, json};

use super::class::Class;

/// The document key in the paths and tokens of the tests.
pub const KEY: &str = "k1";

/// Claims, what they are, and where they are met.
pub struct Specimen {
    pub class: Class,
    pub name: &'static str,
    pub claims: Value,
}

fn specimen(class: Class, name: &'static str, claims: Value) -> Specimen {
    Specimen { class, name, claims }
}

/// At least two of each class.
pub fn all() -> Vec<Specimen> {
    let mut all = of_browsers();
    all.extend(of_backends());
    all.extend(of_servers());
    all
}

fn of_browsers() -> Vec<Specimen> {
    let url = "http://127.0.0.1:8099/files/t.docx";
    let permissions = json!({"edit": true, "download": true, "print": true});
    vec![
        // captures/browser/t1
        specimen(
            Class::Open,
            "captured",
            json!({"document": {"fileType": "docx", "key": KEY, "permissions": permissions, "title": "t.docx", "url": url}, "documentType": "word", "editorConfig": {"callbackUrl": "http://127.0.0.1:8099/callback", "customization": {"forcesave": true}, "lang": "en", "mode": "edit", "user": {"id": "u1", "name": "User u1"}}, "exp": 1_795_324_299, "iat": 1_795_320_000, "height": "100%", "type": "desktop", "width": "100%"}),
        ),
        specimen(
            Class::Open,
            "viewer_no_user_no_callback",
            json!({"document": {"fileType": "pdf", "key": KEY, "title": "t.pdf", "url": url}, "editorConfig": {"mode": "view"}}),
        ),
        specimen(Class::Open, "anonymous_link", json!({"document": {"key": KEY, "url": url}})),
        specimen(
            Class::History,
            "with_changes",
            json!({"changesUrl": "http://127.0.0.1:8099/changes.zip", "key": KEY, "previous": {"key": "k0", "url": url}, "url": url, "version": 2}),
        ),
        specimen(
            Class::History,
            "first_version",
            json!({"fileType": "docx", "key": KEY, "url": url, "version": 1}),
        ),
        specimen(
            Class::Insert,
            "image",
            json!({"c": "add", "images": [{"fileType": "png", "url": "http://127.0.0.1:8099/a.png"}]}),
        ),
        specimen(Class::Insert, "compare", json!({"c": "compare", "fileType": "docx", "url": url})),
        specimen(Class::Insert, "mail_merge_no_c", json!({"fileType": "xlsx", "url": url})),
        specimen(
            Class::Insert,
            "reference_no_c",
            json!({"fileType": "xlsx", "key": "other", "path": "s.xlsx", "referenceData": {"fileKey": "f", "instanceId": "i"}, "url": url}),
        ),
        // captures/ws, captures/browser/view
        specimen(
            Class::Session,
            "captured",
            json!({"document": {"ds_encrypted": false, "key": KEY, "permissions": permissions}, "editorConfig": {"ds_isCloseCoAuthoring": false, "ds_sessionTimeConnect": 1_795_320_327_481_u64, "user": {"id": "w1", "index": 1, "name": "W1"}}, "exp": 1_797_912_327, "iat": 1_795_320_027}),
        ),
        specimen(
            Class::Session,
            "viewer",
            json!({"document": {"ds_encrypted": false, "key": KEY, "permissions": {"edit": false}}, "editorConfig": {"coEditing": {"mode": "fast"}, "ds_isCloseCoAuthoring": false, "ds_sessionTimeConnect": 1_795_320_603_829_u64, "ds_view": true, "user": {"id": "u1"}}, "exp": 1_797_912_604, "iat": 1_795_320_004}),
        ),
        specimen(
            Class::Session,
            "encrypted",
            json!({"document": {"ds_encrypted": true, "key": KEY}, "editorConfig": {"ds_isCloseCoAuthoring": false, "ds_sessionTimeConnect": 1}, "exp": 1_797_912_604}),
        ),
        specimen(
            Class::Print,
            "signed_by_server",
            json!({"document": {"key": KEY}, "exp": 1_797_912_604, "iat": 1_795_320_004}),
        ),
        specimen(Class::Print, "without_times", json!({"document": {"key": KEY}})),
        specimen(
            Class::Partial,
            "document_with_command",
            json!({"c": "forcesave", "document": {"key": KEY}, "key": KEY}),
        ),
        specimen(
            Class::Partial,
            "config_with_output_type",
            json!({"editorConfig": {"mode": "view"}, "outputtype": "pdf", "url": url}),
        ),
        specimen(Class::Partial, "status_with_command", json!({"c": "info", "status": 2})),
    ]
}

fn of_backends() -> Vec<Specimen> {
    let url = "http://127.0.0.1:8099/files/t.docx";
    vec![
        // captures/http*, captures/http-cmds*
        specimen(Class::Command, "version", json!({"c": "version"})),
        specimen(Class::Command, "drop_users", json!({"c": "drop", "key": KEY, "users": ["u1"]})),
        specimen(Class::Command, "forcesave", json!({"c": "forcesave", "key": KEY, "userdata": "ud0"})),
        specimen(Class::Command, "get_forgotten", json!({"c": "getForgotten", "key": KEY})),
        specimen(
            Class::Convert,
            "captured",
            json!({"async": false, "filetype": "docx", "key": "cv1", "outputtype": "pdf", "title": "t.docx", "url": url}),
        ),
        specimen(
            Class::Convert,
            "camel_case",
            json!({"async": true, "fileType": "docx", "key": "cv1", "outputType": "odt", "url": url}),
        ),
        specimen(
            Class::Builder,
            "by_url",
            json!({"async": false, "url": "http://127.0.0.1:8099/files/x.docbuilder"}),
        ),
        specimen(Class::Builder, "by_key", json!({"async": true, "key": "bld_1"})),
        specimen(Class::Unknown, "nothing", json!({"iat": 1_795_320_004})),
        specimen(Class::Unknown, "url_alone", json!({"url": url})),
        specimen(Class::Unknown, "other_command", json!({"c": "nosuch", "key": KEY})),
        // An integrator's old fault (DocumentServer#283): the server spreads the letters.
        specimen(Class::Unknown, "payload_as_text", json!({"payload": "{\"c\":\"version\"}"})),
    ]
}

fn of_servers() -> Vec<Specimen> {
    let url = "http://127.0.0.1:8099/files/t.docx";
    vec![
        // captures/callbacks
        specimen(
            Class::Callback,
            "status_1",
            json!({"actions": [{"type": 1, "userid": "w1"}], "exp": 1_795_321_803, "iat": 1_795_320_003, "key": KEY, "status": 1, "users": ["w1"]}),
        ),
        specimen(
            Class::Callback,
            "status_2",
            json!({"changesurl": url, "exp": 1_795_321_803, "filetype": "docx", "history": {"changes": [], "serverVersion": "9.0.4"}, "iat": 1_795_320_003, "key": KEY, "lastsave": "2026-11-22T04:25:04.000Z", "notmodified": false, "status": 2, "url": url, "users": ["u1"]}),
        ),
        specimen(
            Class::Download,
            "signed_by_server",
            json!({"exp": 1_795_321_803, "iat": 1_795_320_003, "payload": {"url": url}}),
        ),
        specimen(Class::Download, "without_times", json!({"payload": {"url": url}})),
    ]
}

/// Claims that are refused for something else than their class.
pub fn astray() -> Vec<Specimen> {
    let url = "http://127.0.0.1:8099/files/t.docx";
    vec![
        specimen(
            Class::Session,
            "other_document",
            json!({"document": {"key": "k2"}, "editorConfig": {"ds_sessionTimeConnect": 1}}),
        ),
        specimen(Class::Print, "other_document", json!({"document": {"key": "k"}})),
        specimen(
            Class::Convert,
            "foreign_host",
            json!({"async": false, "filetype": "docx", "key": "cv1", "outputtype": "pdf", "url": "http://169.254.169.254/latest"}),
        ),
        specimen(
            Class::Open,
            "foreign_host",
            json!({"document": {"key": KEY, "url": "http://evil.example/t.docx"}}),
        ),
        specimen(
            Class::Open,
            "foreign_callback",
            json!({"document": {"key": KEY, "url": url}, "editorConfig": {"callbackUrl": "https://evil.example/c"}}),
        ),
    ]
}
