//! What is being worked on: documents with their editors, and saves on their way.

use super::html::{Html, coarse, short, size, span};
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
        html.raw("<table><thead><tr><th scope=\"col\">Document</th><th scope=\"col\">State</th><th scope=\"col\">Why, and what to do</th>");
        html.raw("<th scope=\"col\" class=\"number\">Tries</th><th scope=\"col\" class=\"number\">Age</th></tr></thead><tbody>");
        for save in &view.saves {
            line(&mut html, save);
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

fn line(html: &mut Html, save: &Listed) {
    html.within("<tr><td><bdi class=\"key\">", short(&save.key, NAME), "</bdi><br>");
    html.within(
        "<span class=\"soft\">",
        format_args!("{} · {}", save.integrator, save.number()),
        "</span></td>",
    );
    let (tone, state) = match (save.standing.group(), save.standing) {
        (Group::Parked, standing) => ("badge bad", format!("parked: {}", standing.name().replace('_', " "))),
        (Group::Waiting, Standing::Waiting(next)) => ("badge warn", format!("waiting, {} to go", span(next))),
        (Group::Waiting, standing) => ("badge warn", standing.name().to_owned()),
        (_, standing) => ("badge", standing.name().to_owned()),
    };
    html.raw("<td><span class=\"").text(tone).raw("\">").text(state).raw("</span></td><td class=\"all\">");
    html.text(save.reason());
    if let Some(advice) = save.advice() {
        html.raw("<p class=\"advice\">").commands(&advice).raw("</p>");
    }
    html.within("</td><td class=\"number tries\">", save.tries, "</td>");
    html.within("<td class=\"number age\">", span(save.age), "</td></tr>");
}
