//! What is being worked on: documents with their editors, and saves on their way.

use std::time::{Duration, SystemTime};

use super::html::{Html, coarse, moment, short, size, span};
use crate::admin::view::{View, mode};
use crate::relay::{Group, Listed, Standing};
use crate::sockets::Open;

/// Characters of a name from a token.
const NAME: usize = 96;

pub fn documents(view: &View) -> Html {
    let mut html = Html::default();
    if view.crowd.open.is_empty() {
        html.raw("<p class=\"none\">Nobody edits anything now.</p>");
        return html;
    }
    html.raw(
        "<table><thead><tr><th scope=\"col\">Document</th><th scope=\"col\" class=\"number\">Editors</th>",
    );
    html.raw("<th scope=\"col\">Who, and for how long</th></tr></thead><tbody>");
    for open in &view.crowd.open {
        html.within("<tr><td><bdi class=\"key\">", short(&open.document, NAME), "</bdi></td>");
        html.within("<td class=\"number count\">", open.count, "</td><td class=\"all\">");
        people(&mut html, open, view);
        html.raw("</td></tr>");
    }
    html.raw("</tbody></table>");
    let hidden = view.crowd.documents.saturating_sub(view.crowd.open.len());
    if hidden > 0 {
        html.within("<p class=\"more\">and ", hidden, " more: <a href=\"api/v1/sessions\">sessions</a></p>");
    }
    html
}

fn people(html: &mut Html, open: &Open, view: &View) {
    html.raw("<ul class=\"people\">");
    for editor in &open.editors {
        let name = editor.user.as_deref().map_or("without a name".to_owned(), |user| short(user, NAME));
        html.within("<li><bdi>", name, "</bdi> <span class=\"soft\">");
        if let Some(mode) = mode(editor.mode) {
            html.text(mode).raw(" · ");
        }
        html.text(coarse(view.instant.saturating_duration_since(editor.since))).raw("</span></li>");
    }
    let hidden = open.count.saturating_sub(open.editors.len());
    if hidden > 0 {
        html.within("<li class=\"soft\">and ", hidden, " more</li>");
    }
    html.raw("</ul>");
}

pub fn saves(view: &View) -> Html {
    let (bytes, most) = view.status.bytes;
    let mut html = Html::default();
    if view.saves.is_empty() {
        html.raw("<p class=\"none\">No save is under way, and none waits.</p>");
    } else {
        html.raw(
            "<table class=\"saves\"><thead><tr><th scope=\"col\">Document</th><th scope=\"col\">State</th>",
        );
        html.raw("<th scope=\"col\">Why, and what to do</th></tr></thead><tbody>");
        for save in &view.saves {
            line(&mut html, save, view.at);
        }
        html.raw("</tbody></table>");
    }
    let survey = &view.status.saves;
    let hidden = (survey.open + survey.parked() + survey.reserve).saturating_sub(view.saves.len());
    if hidden > 0 {
        html.within("<p class=\"more\">and ", hidden, " more: <a href=\"api/v1/saves\">saves</a></p>");
    }
    html.within("<p class=\"more\">", format_args!("{} of {} kept on disk", size(bytes), size(most)), "</p>");
    html
}

fn line(html: &mut Html, save: &Listed, now: SystemTime) {
    html.within("<tr><td><bdi class=\"key\">", short(&save.key, NAME), "</bdi><br>");
    html.within(
        "<span class=\"soft\">",
        format_args!("{} · {}", save.integrator, save.number()),
        "</span></td>",
    );
    let name = save.standing.name().replace('_', " ");
    let (tone, state) = match save.standing.group() {
        Group::Parked => ("badge bad", format!("parked: {name}")),
        Group::Waiting => ("badge warn", name),
        Group::InFlight | Group::Reserve => ("badge", name),
    };
    html.raw("<td class=\"state\"><span class=\"").text(tone).raw("\">").text(state).raw("</span>");
    times(html, save, now);
    html.within("</td><td class=\"all\"><p>", save.reason(), "</p>");
    if let Some(advice) = save.advice() {
        html.raw("<p class=\"advice\">").commands(&advice).raw("</p>");
    }
    html.raw("</td></tr>");
}

/// When it came, when it is tried next, and how often it was.
fn times(html: &mut Html, save: &Listed, now: SystemTime) {
    let came = now.checked_sub(save.age).unwrap_or(now);
    html.raw("<p>came ").time(came, format_args!("{} ago", span(save.age)));
    html.within(" <span class=\"soft\">", moment(came, now), "</span></p><p>");
    let tried = match save.tries {
        0 => "not tried yet".to_owned(),
        1 => "tried once".to_owned(),
        tries => format!("tried {tries} times"),
    };
    match (save.standing.next(), save.standing) {
        (Some(next), _) => {
            let at = now.checked_add(next).unwrap_or(now);
            let next = Duration::from_secs(next.as_secs() + 1); // never "in 0 s"
            html.text(tried).raw(", next try ").time(at, format_args!("in {}", span(next)))
        }
        (None, Standing::Waiting(_)) => html.text(tried).raw(", next try when its turn comes"),
        (None, Standing::Queued) => html.text(tried).raw(": an earlier save goes first"),
        (None, Standing::Fetching) => html.text(tried).raw(": it is being fetched"),
        (None, Standing::Retrying | Standing::Delivering | Standing::Passing) => {
            html.raw("try ").text(save.tries.max(1)).raw(" is under way")
        }
        (None, Standing::Parked(_)) => html.text(tried).raw(", next try only when you ask for it"),
        (None, Standing::Reserve) => html.text(tried).raw(", no try is needed now"),
    };
    html.raw("</p>");
}
