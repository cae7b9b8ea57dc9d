//! What the gateway stands on: Document Servers and stores, integrators, certificates, its configuration, and whom it refuses.

use std::time::Duration;

use super::html::{Html, ago, coarse, date, short, span};
use super::summary::tone;
use crate::admin::health::Standing;
use crate::admin::view::{Certificate, View};
use crate::live::{Complaint, Outcome, Verdict};
use crate::relay::{Correspondent, Said};
use crate::upstream::Health;

/// Lines of one kind that are shown.
const MOST: usize = 20;
/// Characters of an error's text.
const LONG: usize = 300;

/// A row: what it is, its badge, and more of it.
fn row(html: &mut Html, name: &str, (class, word): (&'static str, &str), more: &Html) {
    html.within("<li><div class=\"top-line\"><bdi class=\"key\">", name, "</bdi><span class=\"");
    html.text(class).raw("\">").text(word).raw("</span></div>").html(more).raw("</li>");
}

/// That there are more than are shown.
fn more(html: &mut Html, all: usize) {
    let hidden = all.saturating_sub(MOST);
    if hidden > 0 {
        html.within("<li class=\"soft\">and ", hidden, " more</li>");
    }
}

fn paragraph(text: &str) -> Html {
    let mut html = Html::default();
    html.within("<p class=\"soft\">", text, "</p>");
    html
}

pub fn servers(view: &View) -> Html {
    let mut html = Html::default();
    html.raw("<ul class=\"rows\">");
    for server in view.servers.iter().take(MOST) {
        let (standing, word, what) = match server.health {
            Health::Up => (Standing::Healthy, "up", ""),
            Health::Unknown => (Standing::Disabled, "not asked yet", ""),
            Health::Unwell => (
                Standing::Degraded,
                "not well",
                ": it answers, but its /healthcheck does not say true; look at its database, queue and disk",
            ),
            Health::Down => (Standing::Unhealthy, "down", ": requests wait for it, then get 503"),
        };
        let since =
            format!("for {} (since {}){what}", coarse(ago(server.since, view.at)), date(server.since));
        row(&mut html, &server.name, (tone(standing), word), &paragraph(&since));
    }
    more(&mut html, view.servers.len());
    let stores = view.health.components.iter().filter(|part| part.name != "onlyoffice");
    for part in stores.filter(|part| part.standing != Standing::Disabled) {
        let name = if part.name == "sftp" { "archive (SFTP)" } else { part.name };
        let since = part.since.map(|since| format!("for {}", coarse(ago(since, view.at))));
        let told = [since, part.detail.as_deref().map(|detail| short(detail, LONG))];
        let told: Vec<String> = told.into_iter().flatten().collect();
        row(&mut html, name, (tone(part.standing), part.standing.name()), &paragraph(&told.join(": ")));
    }
    html.raw("</ul>");
    html
}

pub fn integrators(view: &View) -> Html {
    let mut html = Html::default();
    if view.integrators.is_empty() {
        html.raw("<p class=\"none\">None is configured: nothing goes through the relay.</p>");
        return html;
    }
    html.raw("<ul class=\"rows\">");
    for integrator in view.integrators.iter().take(MOST) {
        let Correspondent { name, origin, away, last } = integrator;
        let (class, word) = match (away, last) {
            (true, _) => ("badge bad", "takes no saves"),
            (false, None) => ("badge", "not asked yet"),
            (false, Some(last)) => match &last.said {
                Said::Status(200..=299) => ("badge good", "answers"),
                _ => ("badge warn", "answered oddly"),
            },
        };
        let told = last.as_ref().map(|last| {
            let said = match &last.said {
                Said::Status(status) => format!("{status} after {} ms", last.took.as_millis()),
                Said::Nothing(why) => format!("no answer: {}", short(why, LONG)),
            };
            format!("last callback {} ago: {said}", coarse(ago(last.at, view.at)))
        });
        let last = paragraph(told.as_deref().unwrap_or("no callback since the start"));
        let mut told = paragraph(origin);
        told.html(&last);
        row(&mut html, name, (class, word), &told);
    }
    more(&mut html, view.integrators.len());
    html.raw("</ul>");
    html
}

pub fn refusals(view: &View) -> Html {
    let mut html = Html::default();
    let Some((_, top)) = view.refusals.first() else {
        html.raw("<p class=\"none\">Nothing was refused.</p>");
        return html;
    };
    html.raw("<ul class=\"rows\">");
    for (reason, count) in view.refusals.iter().take(MOST) {
        html.within("<li><div class=\"top-line\"><code>", reason, "</code>");
        html.within("<span class=\"number\">", count, "</span></div>");
        html.raw(
            "<svg class=\"share\" aria-hidden=\"true\" preserveAspectRatio=\"none\" viewBox=\"0 0 100 4\">",
        );
        html.raw("<rect height=\"4\" width=\"").text((count * 100 / top).max(1)).raw("\"/></svg></li>");
    }
    more(&mut html, view.refusals.len());
    html.raw(
        "</ul><p class=\"more\">The README has the cause and the cure of each; the log has the request.</p>",
    );
    html
}

pub fn certificates(view: &View) -> Html {
    let mut html = Html::default();
    if view.certificates.is_empty() {
        html.raw("<p class=\"none\">None: https is not served.</p>");
        return html;
    }
    html.raw("<ul class=\"rows\">");
    for certificate in view.certificates.iter().take(MOST) {
        let Certificate { names, until, stale } = certificate;
        let (class, word, more) = match until.duration_since(view.at) {
            Err(_) => ("badge bad", "has ended".to_owned(), " Renew it now."),
            Ok(_) if *stale => (
                "badge warn",
                "files unusable".to_owned(),
                " Its changed files cannot be used; the last good pair is served.",
            ),
            Ok(left) if left < Duration::from_secs(14 * 86_400) => {
                ("badge warn", span(left), " Is it being renewed?")
            }
            Ok(left) => ("badge good", span(left), ""),
        };
        let told = format!("until {}.{more}", date(*until));
        row(&mut html, &short(&names.join(", "), LONG), (class, &word), &paragraph(&told));
    }
    more(&mut html, view.certificates.len());
    html.raw("</ul>");
    html
}

pub fn configuration(view: &View) -> Html {
    let mut html = Html::default();
    let Some(outcome) = &view.outcome else {
        html.raw("<p class=\"none\">As at the start; nothing has been reloaded.</p>");
        return html;
    };
    let Outcome { result, at, cause, generation, file, .. } = &**outcome;
    let (class, word) = match result {
        Verdict::Applied => ("badge good", "applied"),
        Verdict::Refused => ("badge bad", "refused"),
    };
    html.raw("<ul class=\"rows\">");
    let told = format!("{} ({}), configuration {generation} runs", date(*at), cause.name());
    row(&mut html, file, (class, word), &paragraph(&told));
    html.raw("</ul>");
    let texts = |complaints: &[Complaint]| complaints.iter().map(|one| one.text.clone()).collect::<Vec<_>>();
    list(&mut html, "Faults: what ran before goes on", &texts(&outcome.faults), true);
    list(&mut html, "Waits for a restart", &outcome.pending_changes, false);
    list(&mut html, "Changed", &outcome.changes, false);
    list(&mut html, "Warnings", &texts(&outcome.warnings), true);
    html
}

fn list(html: &mut Html, title: &'static str, lines: &[String], quotes: bool) {
    if lines.is_empty() {
        return;
    }
    html.within("<h3 class=\"more\">", title, "</h3>");
    for line in lines.iter().take(MOST) {
        let line = short(line, 4 * LONG);
        if quotes {
            html.within("<pre>", line, "</pre>")
        } else {
            html.within("<p>", line, "</p>")
        };
    }
    let hidden = lines.len().saturating_sub(MOST);
    if hidden > 0 {
        html.within("<p class=\"more\">and ", hidden, " more: see the log</p>");
    }
}
