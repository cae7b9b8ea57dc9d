//! Bars of the last hour, a minute each, as inline SVG.

use super::html::Html;

/// Of a minute on the drawing, which the page stretches.
const STEP: usize = 10;
/// Of the drawing.
const HEIGHT: usize = 96;

/// A row of numbers, drawn in a colour of its own on top of the rows before it.
pub struct Row {
    /// What the style sheet calls it.
    pub class: &'static str,
    /// One number a minute, the oldest first.
    pub numbers: Vec<usize>,
}

/// The drawing. `told` is what it says, for who does not see it.
pub fn chart(rows: &[Row], told: &str) -> Html {
    let minutes = rows.iter().map(|row| row.numbers.len()).max().unwrap_or(0);
    let sum = |minute: usize| rows.iter().filter_map(|row| row.numbers.get(minute)).sum::<usize>();
    let top = (0..minutes).map(sum).max().unwrap_or(0);
    let mut html = Html::default();
    html.raw("<div class=\"plot\"><span class=\"top\" aria-hidden=\"true\">").text(top).raw("</span>");
    html.raw("<svg role=\"img\" preserveAspectRatio=\"none\" viewBox=\"0 0 ").text(minutes * STEP);
    html.raw(" ").text(HEIGHT).raw("\" aria-label=\"").text(told).raw("\">");
    html.raw("<path class=\"line\" d=\"M0 0.5H").text(minutes * STEP).raw("M0 48H").text(minutes * STEP);
    html.raw("\"/>");
    for minute in 0..minutes {
        let mut floor = HEIGHT;
        for row in rows {
            let number = row.numbers.get(minute).copied().unwrap_or(0);
            // What is there at all is seen.
            let height = if number == 0 { 0 } else { (number * HEIGHT / top.max(1)).max(2).min(floor) };
            if height == 0 {
                continue;
            }
            floor -= height;
            html.raw("<rect class=\"").text(row.class).raw("\" x=\"").text(minute * STEP + 1);
            html.raw("\" y=\"").text(floor).raw("\" width=\"").text(STEP - 2);
            html.raw("\" height=\"").text(height).raw("\"/>");
        }
    }
    html.raw(
        "</svg><p class=\"axis\" aria-hidden=\"true\"><span>60 min ago</span><span>now</span></p></div>",
    );
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_on_each_other_and_none_leaves_the_drawing() {
        let rows = [
            Row { class: "good", numbers: vec![0, 100, 1] },
            Row { class: "bad", numbers: vec![0, 100, usize::from(u16::MAX)] },
        ];
        let drawn = chart(&rows, "a \"told\" story").into_string();
        assert!(drawn.contains("aria-label=\"a &quot;told&quot; story\"") && drawn.contains(">65536</span>"));
        // Too small to be seen otherwise: two units high.
        assert!(drawn.contains("x=\"11\" y=\"94\" width=\"8\" height=\"2\""), "{drawn}");
        assert!(drawn.contains("x=\"21\" y=\"0\"") && !drawn.contains("y=\"-"), "{drawn}");
        assert_eq!(chart(&[], "").into_string().matches("<rect").count(), 0);
    }
}
