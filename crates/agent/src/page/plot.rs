//! How much was done lately, as bars.

use super::html::{Html, html};
use super::view::grouped;
use crate::queue::Throughput;
use irods_omero_model::clock::UnixTime;

/// What is shown at most, in seconds.
pub const LONGEST: u64 = 7 * 86_400;

/// A plot: how many bars, and how many hours each is.
pub struct Plot {
    title: &'static str,
    bars: u64,
    hours: u64,
    /// What stands below its left, its middle and its right end.
    axis: [&'static str; 3],
}

/// The last day, by the hour.
pub const DAY: Plot =
    Plot { title: "Last 24 hours", bars: 24, hours: 1, axis: ["24 h ago", "12 h ago", "now"] };

/// The last week, by six hours.
pub const WEEK: Plot =
    Plot { title: "Last 7 days", bars: 28, hours: 6, axis: ["7 days ago", "3½ days ago", "now"] };

/// The height of the drawing, in its own units.
const HEIGHT: u64 = 60;

/// Draws how many files the jobs had that ended.
pub fn bars(out: &mut Html, plot: &Plot, ended: &[Throughput], now: UnixTime) {
    let this_hour = now / 3_600;
    let mut sums = vec![(0, 0); usize::try_from(plot.bars).unwrap_or_default()];
    for slot in ended {
        // The last bar ends with this hour; an hour to come is a clock that was set back.
        let back = this_hour.saturating_sub(slot.hour) / plot.hours;
        let place = usize::try_from(back).ok().and_then(|back| sums.len().checked_sub(back + 1));
        if let Some(sum) = place.and_then(|place| sums.get_mut(place)) {
            *sum = (sum.0 + slot.done, sum.1 + slot.others);
        }
    }
    let most = sums.iter().map(|(done, others)| done + others).max().unwrap_or(0);
    let all = grouped(sums.iter().map(|(done, _)| done).sum());
    let others = grouped(sums.iter().map(|(_, others)| others).sum());
    html!(out; "<figure class=\"card\"><figcaption><strong>" (plot.title) "</strong><br><span class=\"key done\"></span> " (all)
        " files in jobs done <span class=\"key others\"></span> " (others) " in jobs refused or cancelled</figcaption>"
        "<div class=\"axis\"><span>" (grouped(most)) " files</span></div><svg role=\"img\" aria-label=\"" (plot.title) ": " (all)
        " files in jobs done, " (others) " in jobs refused or cancelled\" preserveAspectRatio=\"none\" viewBox=\"0 0 " (plot.bars * 10) " " (HEIGHT) "\">");
    for (place, (done, others)) in sums.iter().enumerate() {
        let (low, high) = (height(*done, most), height(*others, most));
        bar(out, "done", place, HEIGHT - low, low);
        bar(out, "others", place, HEIGHT.saturating_sub(low + high), high);
    }
    out.raw("</svg><div class=\"axis\">");
    for place in plot.axis {
        html!(out; "<span>" (place) "</span>");
    }
    out.raw("</div></figure>");
}

fn bar(out: &mut Html, class: &'static str, place: usize, y: u64, height: u64) {
    if height > 0 {
        html!(out; "<rect class=\"" (class) "\" x=\"" (place * 10 + 1) "\" y=\"" (y) "\" width=\"8\" height=\"" (height) "\"/>");
    }
}

/// What is there at all can be seen.
fn height(count: u64, most: u64) -> u64 {
    if count == 0 { 0 } else { (count.saturating_mul(HEIGHT) / most.max(1)).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_part_of_the_highest_and_what_is_older_is_left_out() {
        let ended = [
            Throughput { hour: 70, done: 1_000, others: 0 },
            Throughput { hour: 99, done: 10, others: 10 },
            Throughput { hour: 100, done: 40, others: 0 },
        ];
        let mut out = Html::default();
        bars(&mut out, &DAY, &ended, 100 * 3_600);
        let text = out.into_string();
        assert!(
            text.contains("50 files in jobs done, 10 in jobs refused or cancelled")
                && text.contains("<span>40 files"),
            "{text}"
        );
        for rect in [
            "class=\"done\" x=\"231\" y=\"0\" width=\"8\" height=\"60\"",
            "class=\"done\" x=\"221\" y=\"45\" width=\"8\" height=\"15\"",
            "class=\"others\" x=\"221\" y=\"30\" width=\"8\" height=\"15\"",
        ] {
            assert!(text.contains(rect), "{rect}: {text}");
        }
        assert_eq!(text.matches("<rect").count(), 3);
    }
}
