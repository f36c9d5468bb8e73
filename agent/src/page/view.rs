//! The pages as markup.

use super::html::{Html, html, page};
use super::time::{date, span};
use super::{FILES, FileLine, Filters, Line, Summary, Viewer, Whole, plot};
use crate::api::jobs::now;
use crate::queue::Job;
use axum::http::StatusCode;
use axum::response::Response;
use irods_rule_engine_plugin_omero::importer::wire::{Became, JobState, Outcome};

const TITLE: &str = "irods-omero agent";

/// The page that asks for a token.
pub fn sign_in(why: Option<&'static str>) -> Response {
    let mut out = Html::default();
    html!(out; "<header><h1>" (TITLE) "</h1></header><h2>Sign in</h2>");
    if let Some(why) = why {
        html!(out; "<p class=\"bad\">" (why) "</p>");
    }
    out.raw("<p>A token of the agent's <code>tokens_file</code> shows the jobs of its zones.</p>");
    sign_in_form(&mut out);
    page(StatusCode::UNAUTHORIZED, &TITLE, &out, false)
}

fn sign_in_form(out: &mut Html) {
    out.raw(
        "<form class=\"row\" method=\"post\" action=\"/login\"><label>Token<input type=\"password\" name=\"token\" \
         autocomplete=\"current-password\" required></label><button>Sign in</button></form>",
    );
}

/// A page that says why there is none.
pub fn failure(status: StatusCode, detail: &str) -> Response {
    let mut out = Html::default();
    html!(out; "<header><h1><a href=\"/\">" (TITLE) "</a></h1></header><p class=\"bad\">" (detail) "</p>");
    page(status, &TITLE, &out, false)
}

fn head(out: &mut Html, viewer: &Viewer) {
    html!(out; "<header><h1><a href=\"/\">" (TITLE) "</a></h1><span class=\"quiet\">" (viewer.client.name) "</span>");
    if let Some(session) = &viewer.session {
        html!(out; "<form method=\"post\" action=\"/logout\"><input type=\"hidden\" name=\"csrf\" value=\"" (session.csrf)
            "\"><button>Sign out</button></form>");
    } else if viewer.may_sign_in {
        sign_in_form(out);
    }
    out.raw("</header>\n");
}

/// The first page, and every page of the list.
pub fn overview(
    viewer: &Viewer,
    filters: &Filters,
    summary: Option<&Summary>,
    found: &[Line],
    more: bool,
) -> Response {
    let mut out = Html::default();
    head(&mut out, viewer);
    if let Some(summary) = summary {
        summarize(&mut out, viewer, summary);
    }
    out.raw("<h2>Jobs</h2>");
    filter_form(&mut out, filters);
    table(&mut out, viewer, found, "There is no such job.");
    if let Some(last) = found.last().filter(|_| more) {
        older(&mut out, filters, &last.name);
    }
    page(StatusCode::OK, &TITLE, &out, filters.before.is_empty())
}

fn summarize(out: &mut Html, viewer: &Viewer, summary: &Summary) {
    for server in &summary.closed {
        html!(out; "<p class=\"banner bad\">OMERO '" (server)
            "' cannot be reached: its jobs stay queued and go on as soon as it answers. <a href=\"/readyz\">/readyz</a> says why.</p>");
    }
    out.raw("<nav class=\"counts\">");
    for (state, count) in &summary.counts {
        html!(out; "<a href=\"/?state=" (state.as_str()) "\">" (count) " " (state.as_str()) "</a>");
    }
    out.raw("</nav><h2>Running</h2>");
    table(out, viewer, &summary.running, "Nothing runs.");
    out.raw("<h2>Waiting</h2>");
    table(out, viewer, &summary.waiting, "Nothing waits for OMERO.");
    out.raw("<h2>Refused</h2>");
    table(out, viewer, &summary.refused, "Nothing was refused.");
    out.raw("<h2>Throughput</h2><div class=\"plots\">");
    let time = now();
    plot::bars(out, "Last day, by the hour", &summary.ended, time, 1, 24);
    plot::bars(out, "Last week, by six hours", &summary.ended, time, 6, 28);
    out.raw("</div>\n");
}

fn filter_form(out: &mut Html, filters: &Filters) {
    out.raw("<form class=\"row\" method=\"get\" action=\"/\"><label>State<select name=\"state\"><option value=\"\">any</option>");
    if filters.state.contains(',') {
        html!(out; "<option selected>" (filters.state) "</option>");
    }
    for state in JobState::ALL {
        html!(out; "<option");
        if state.as_str() == filters.state {
            out.raw(" selected");
        }
        html!(out; ">" (state.as_str()) "</option>");
    }
    html!(out; "</select></label><label>Zone<input name=\"zone\" value=\"" (filters.zone)
        "\"></label><label>User<input name=\"user\" value=\"" (filters.user)
        "\"></label><label>Text<input name=\"text\" value=\"" (filters.text)
        "\"></label><button>Show</button></form>\n");
}

fn older(out: &mut Html, filters: &Filters, before: &str) {
    out.raw("<form method=\"get\" action=\"/\">");
    let kept = [
        ("state", &filters.state),
        ("zone", &filters.zone),
        ("user", &filters.user),
        ("text", &filters.text),
    ];
    for (name, value) in kept {
        html!(out; "<input type=\"hidden\" name=\"" (name) "\" value=\"" (value) "\">");
    }
    html!(out; "<button name=\"before\" value=\"" (before) "\">Older jobs</button></form>");
}

fn table(out: &mut Html, viewer: &Viewer, lines: &[Line], none: &'static str) {
    if lines.is_empty() {
        html!(out; "<p class=\"quiet\">" (none) "</p>");
        return;
    }
    out.raw(
        "<table><thead><tr><th>Job<th>Zone<th>User<th>Files<th>Submitted<th>State<th></tr></thead><tbody>\n",
    );
    let time = now();
    for line in lines {
        let job = &line.job;
        html!(out; "<tr><td><a href=\"/jobs/" (line.name) "\">" (line.name) "</a></td><td>" (job.zone) "</td><td>" (job.user)
            "</td><td>" (job.files) " files</td><td title=\"" (date(job.submitted)) "\">"
            (span(time.saturating_sub(job.submitted))) " ago</td><td>");
        state(out, line);
        out.raw("</td><td>");
        retry_button(out, viewer, line);
        out.raw("</td></tr>\n");
    }
    out.raw("</tbody></table>\n");
}

/// How far a job is, and why not further.
fn state(out: &mut Html, line: &Line) {
    let job = &line.job;
    let class = match job.state {
        JobState::Refused => "bad",
        JobState::Done => "good",
        JobState::Queued | JobState::Running | JobState::Waiting | JobState::Cancelled => "quiet",
    };
    html!(out; "<span class=\"" (class) "\">" (job.state.as_str()) "</span>");
    if let Some((linked, of)) = line.progress {
        html!(out; " <progress value=\"" (linked) "\" max=\"" (of.max(1)) "\"></progress> " (linked) " of " (of) " linked");
    }
    if job.stopping {
        out.raw(", is being ended");
    }
    if let Some(failed) = line.failed.filter(|n| *n > 0) {
        html!(out; ", <span class=\"bad\">" (failed) " of its files failed</span>");
    }
    if let Some(reason) = &job.reason {
        html!(out; ": " (reason));
    }
    if let Some(again) = next_try(job) {
        html!(out; " (" (again) ")");
    }
}

fn next_try(job: &Job) -> Option<String> {
    let next = job.next.filter(|_| job.state == JobState::Waiting)?;
    Some(match next.saturating_sub(now()) {
        0 => "tried again now".to_owned(),
        seconds => format!("tried again in {}", span(seconds)),
    })
}

/// For who has signed in, and where the job does not go on by itself right now.
fn retry_button(out: &mut Html, viewer: &Viewer, line: &Line) {
    let Some(session) = &viewer.session else { return };
    if matches!(line.job.state, JobState::Queued | JobState::Running) {
        return;
    }
    html!(out; "<form method=\"post\" action=\"/jobs/" (line.name) "/retry\"><input type=\"hidden\" name=\"csrf\" value=\""
        (session.csrf) "\"><button>Try again</button></form>");
}

/// The page of a job.
pub fn job(viewer: &Viewer, whole: &Whole) -> Response {
    let (line, job) = (&whole.line, &whole.line.job);
    let mut out = Html::default();
    head(&mut out, viewer);
    html!(out; "<h2>Job " (line.name) "</h2><p>");
    state(&mut out, line);
    out.raw("</p>");
    retry_button(&mut out, viewer, line);
    facts(&mut out, job);
    out.raw("<h2>History</h2><dl>");
    for event in &whole.history {
        html!(out; "<dt>" (date(event.at)) "</dt><dd>" (event.what) "</dd>");
    }
    out.raw("</dl>");
    files(&mut out, whole);
    if let Some(log) = &whole.log {
        html!(out; "<h2>What the importer said at the last attempt</h2><pre>" (log) "</pre>");
    }
    page(StatusCode::OK, &line.name, &out, !job.state.is_final())
}

fn facts(out: &mut Html, job: &Job) {
    let time = |t: Option<u64>| t.map_or_else(|| "not yet".to_owned(), date);
    html!(out; "<dl><dt>Zone</dt><dd>" (job.zone) "</dd><dt>Collection</dt><dd>" (job.collection)
        "</dd><dt>OMERO server</dt><dd>" (job.server) "</dd><dt>OMERO user</dt><dd>" (job.user) "</dd><dt>OMERO group</dt><dd>"
        (job.group.as_deref().unwrap_or("the user's default")) "</dd><dt>Files</dt><dd>" (job.files) "</dd><dt>Priority</dt><dd>"
        (job.priority) "</dd><dt>Attempts</dt><dd>" (job.attempts) "</dd><dt>Submitted</dt><dd>" (date(job.submitted))
        "</dd><dt>Last started</dt><dd>" (time(job.started)) "</dd><dt>Ended</dt><dd>" (time(job.ended))
        "</dd><dt>Key</dt><dd>" (job.key) "</dd></dl>");
}

fn files(out: &mut Html, whole: &Whole) {
    let last = whole.from.saturating_add(whole.files.len());
    out.raw("<h2>Files</h2><table><thead><tr><th>Path in iRODS<th>What became of it</tr></thead><tbody>\n");
    for FileLine { path, outcome } in &whole.files {
        html!(out; "<tr><td>" (path) "</td><td>");
        match outcome {
            Some(outcome) => became(out, outcome),
            None => out.raw("<span class=\"quiet\">not known yet</span>"),
        }
        out.raw("</td></tr>\n");
    }
    out.raw("</tbody></table><p>");
    if whole.from > 0 {
        html!(out; "<a href=\"/jobs/" (whole.line.name) "?from=" (whole.from.saturating_sub(FILES)) "\">Files before</a> ");
    }
    if last < usize::try_from(whole.line.job.files).unwrap_or(usize::MAX) && !whole.files.is_empty() {
        html!(out; "<a href=\"/jobs/" (whole.line.name) "?from=" (last) "\">Further files</a>");
    }
    out.raw("</p>");
}

fn became(out: &mut Html, outcome: &Outcome) {
    let (class, words) = match outcome.outcome {
        Became::Imported if outcome.adopted => ("good", "was in OMERO already"),
        Became::Imported => ("good", "imported"),
        Became::Joined => ("good", "belongs to a fileset that is in OMERO"),
        Became::Failed => ("bad", "failed"),
        Became::Postponed => ("quiet", "comes later"),
    };
    html!(out; "<span class=\"" (class) "\">" (words) "</span>");
    if let Some(fileset) = &outcome.fileset {
        html!(out; ", fileset " (fileset));
    }
    for (what, ids) in [("image", &outcome.images), ("plate", &outcome.plates)] {
        for id in ids.iter().take(SHOWN_IDS) {
            html!(out; ", " (what) " " (id));
        }
        if let Some(more) = ids.len().checked_sub(SHOWN_IDS + 1) {
            html!(out; " and " (more + 1) " more");
        }
    }
    if let Some(reason) = &outcome.reason {
        html!(out; ": " (reason));
    }
}

/// So many images and plates of one file are named.
const SHOWN_IDS: usize = 10;
