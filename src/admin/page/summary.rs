//! What is seen first: how the gateway is, what a person should look at, how much there is of what, and the last hour.

use super::chart::{Row, chart};
use super::html::{Html, coarse, date};
use crate::admin::health::Standing;
use crate::admin::view::View;
use crate::ops::history;

/// Sentences that are shown; the rest is in the log.
const MOST: usize = 12;

pub fn tone(standing: Standing) -> &'static str {
    match standing {
        Standing::Healthy => "badge good",
        Standing::Degraded => "badge warn",
        Standing::Unhealthy => "badge bad",
        Standing::Disabled => "badge",
    }
}

pub fn head(view: &View) -> Html {
    let mut html = Html::default();
    let host = view.hosts.first().map_or("", String::as_str);
    let status = view.health.standing.name();
    html.raw("<h1 data-title=\"");
    html.text(format_args!("{status} · {host} · rapidpm-gateway")).raw("\">rapidpm-gateway ");
    html.raw("<span role=\"status\" class=\"").text(tone(view.health.standing)).raw("\">").text(status);
    html.raw("</span>");
    if view.leaving {
        html.raw("<span class=\"badge warn\">is about to leave</span>");
    }
    if view.observes {
        html.raw("<span class=\"badge warn\">mode = observe: only watches</span>");
    }
    html.within("<span class=\"host\">", view.hosts.join(", "), "</span></h1>");
    html
}

pub fn clock(view: &View) -> Html {
    let mut html = Html::default();
    html.text(format_args!(
        "{} · up {} · version {}",
        date(view.at),
        coarse(view.uptime),
        env!("CARGO_PKG_VERSION")
    ));
    html
}

pub fn attention(view: &View) -> Html {
    let unwell = view.health.components.iter().filter(|part| part.standing > Standing::Healthy);
    let unwell = unwell.filter_map(|part| Some(format!("{}: {}", part.name, part.detail.as_ref()?)));
    let all: Vec<String> = unwell.chain(view.health.complaints.iter().cloned()).collect();
    let mut html = Html::default();
    if all.is_empty() {
        return html;
    }
    let bad = view.health.standing == Standing::Unhealthy;
    html.raw(if bad { "<div class=\"attention bad\">" } else { "<div class=\"attention warn\">" });
    html.raw("<h2>Look at this</h2><ul>");
    for sentence in all.iter().take(MOST) {
        html.raw("<li>").commands(sentence).raw("</li>");
    }
    html.raw("</ul></div>");
    html
}

pub fn glance(view: &View) -> Html {
    let (in_flight, waiting) = view.open();
    let parked = view.status.saves.parked();
    let refused: u64 = view.refusals.iter().map(|(_, count)| count).sum();
    let tiles = [
        ("Documents", view.crowd.documents as u64, ""),
        ("Editors", view.crowd.editors as u64, ""),
        ("Editors held", view.held as u64, "is-warn"),
        ("Saves in flight", in_flight as u64, ""),
        ("Saves waiting", waiting as u64, "is-warn"),
        ("Saves parked", parked as u64, "is-bad"),
        ("Refusals, 1 h", refused, ""),
    ];
    let mut html = Html::default();
    html.raw("<dl class=\"tiles\">");
    for (name, number, tone) in tiles {
        html.raw("<div class=\"").text(if number > 0 { tone } else { "is-none" }).raw("\">");
        html.within("<dt>", name, "</dt>").within("<dd>", number, "</dd></div>");
    }
    html.raw("</dl>");
    html
}

pub fn hour(view: &View) -> Html {
    let row = |class, number: fn(&history::Minute) -> usize| Row {
        class,
        numbers: view.hour.iter().map(number).collect(),
    };
    let sum =
        |number: fn(&history::Minute) -> u32| view.hour.iter().map(|m| u64::from(number(m))).sum::<u64>();
    let most = view.hour.iter().map(|minute| minute.editors).max().unwrap_or(0);
    let editors = chart(
        &[row("editors", |minute| minute.editors)],
        &format!("Editors over the last hour: {} now, at most {most}", view.crowd.editors),
    );
    let (saved, failed, callbacks) = (sum(|m| m.saved), sum(|m| m.failed), sum(|m| m.callbacks));
    let saves = chart(
        &[
            row("saved", |minute| minute.saved as usize),
            row("failed", |minute| minute.failed as usize),
            row("other", |minute| minute.callbacks.saturating_sub(minute.saved + minute.failed) as usize),
        ],
        &format!("Of {callbacks} callbacks in the last hour: {saved} saves went well, {failed} failed"),
    );
    let mut html = Html::default();
    html.raw("<div class=\"charts\"><div><h3>Editors</h3><p class=\"legend\">");
    html.text(format_args!("{} now, at most {most}", view.crowd.editors)).raw("</p>").html(&editors);
    html.raw("</div><div><h3>Saves and callbacks</h3><p class=\"legend\">");
    html.raw("<span class=\"swatch saved\"></span>").text(saved).raw(" saved");
    html.raw("<span class=\"swatch failed\"></span>").text(failed).raw(" failed");
    html.raw("<span class=\"swatch other\"></span>").text(callbacks).raw(" callbacks</p>");
    html.html(&saves).raw("</div></div>");
    html
}
