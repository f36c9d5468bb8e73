//! The pages as markup.

use super::html::{Html, html, page};
use super::time::{date, span};
use super::{BacklogFilters, FILES, FileLine, Filters, Line, Summary, Viewer, Whole, plot};
use crate::api::jobs::now;
use crate::config::Web;
use crate::queue::{Job, Save};
use axum::http::StatusCode;
use axum::response::Response;
use irods_omero_importer::wire::{Backlog, Became, Held, JobState, Outcome};
use irods_omero_model::names::LogicalPath;
use irods_omero_model::record::{Cause, State};
use std::fmt::Write;
use std::sync::Arc;

const TITLE: &str = "OMERO imports";

/// The page that asks for a token.
pub fn sign_in(why: Option<&'static str>) -> Response {
    let mut out = Html::default();
    html!(out; "<header><div class=\"bar\"><h1>" (TITLE) "</h1></div></header><main><h2>Sign in</h2>");
    if let Some(why) = why {
        html!(out; "<p class=\"bad\" role=\"alert\">" (why) "</p>");
    }
    out.raw("<p>A token of the agent's <code>tokens_file</code> shows the jobs of its zones.</p>");
    sign_in_form(&mut out);
    out.raw("</main>");
    page(StatusCode::UNAUTHORIZED, &TITLE, &out, false)
}

fn sign_in_form(out: &mut Html) {
    out.raw(
        "<form class=\"row\" method=\"post\" action=\"/login\"><input type=\"text\" name=\"name\" autocomplete=\"username\" hidden><label>Token<input type=\"password\" name=\"token\" \
         autocomplete=\"current-password\" required></label><button>Sign in</button></form>",
    );
}

/// A page that says why there is none.
pub fn failure(status: StatusCode, detail: &str) -> Response {
    let mut out = Html::default();
    html!(out; "<header><div class=\"bar\"><h1><a href=\"/\">" (TITLE) "</a></h1></div></header><main><p class=\"bad\" role=\"alert\">"
        (detail) "</p><p><a href=\"/\">To the first page</a></p></main>");
    page(status, &TITLE, &out, false)
}

fn head(out: &mut Html, viewer: &Viewer) {
    html!(out; "<header><div class=\"bar\"><h1><a href=\"/\">" (TITLE) "</a></h1>");
    if let Some(session) = &viewer.session {
        html!(out; "<span class=\"quiet\">Signed in as " (viewer.client.name)
            "</span><form method=\"post\" action=\"/logout\"><input type=\"hidden\" name=\"csrf\" value=\"" (session.csrf)
            "\"><button>Sign out</button></form>");
    } else {
        html!(out; "<span class=\"quiet\">Read only, as " (viewer.client.name) "</span>");
        if viewer.may_sign_in {
            sign_in_form(out);
        }
    }
    out.raw("</div></header>\n<main>\n");
}

fn foot(out: &mut Html, live: bool) {
    html!(out; "</main><footer>As of " (date(now())) ". ");
    if live {
        out.raw("The page looks again every 15 seconds.");
    }
    out.raw("</footer>\n");
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
    out.raw("<section id=\"jobs\"><h2>");
    out.raw(if summary.is_some() { "All jobs, newest first" } else { "Jobs, newest first" });
    out.raw("</h2>");
    filter_form(&mut out, filters);
    table(&mut out, viewer, found, "No job is like that.");
    if let Some(last) = found.last().filter(|_| more) {
        older(&mut out, filters, &last.name);
    }
    out.raw("</section>");
    let live = filters.before.is_empty();
    foot(&mut out, live);
    page(StatusCode::OK, &TITLE, &out, live)
}

fn summarize(out: &mut Html, viewer: &Viewer, summary: &Summary) {
    for (server, why) in &summary.closed {
        html!(out; "<p class=\"banner\" role=\"status\">Nothing is imported into OMERO '" (server)
            "' now: " (why) ". Its jobs stay queued and go on as soon as it works again. <a href=\"/readyz\">What the agent finds</a></p>");
    }
    out.raw("<nav aria-label=\"Jobs by state\"><ul class=\"counts\">");
    for (state, count) in &summary.counts {
        html!(out; "<li><a class=\"" (state.as_str()) (if *count == 0 { " zero" } else { "" }) "\" href=\"/?state=" (state.as_str())
            "\"><strong>" (grouped(*count)) "</strong> " (state.as_str()) "</a></li>");
    }
    out.raw("</ul></nav>\n<section><h2>Running</h2>");
    table(out, viewer, &summary.running, "Nothing runs.");
    out.raw("</section><section><h2>Waiting to be tried again</h2>");
    table(out, viewer, &summary.waiting, "Nothing waits.");
    out.raw("</section><section><h2>Failed: somebody has to look</h2>");
    table(out, viewer, &summary.failed, "Nothing has failed.");
    out.raw("</section>");
    if summary.backlogs.iter().any(|backlog| !backlog.held.is_empty()) {
        out.raw("<section><h2>Held back in iRODS</h2>");
        let shown = held_back(out, viewer, &summary.backlogs, SHOWN_HELD, |_| true);
        let all: usize = summary.backlogs.iter().map(|backlog| backlog.held.len()).sum();
        if shown < all {
            html!(out; "<p><a href=\"/backlog\">All " (all) " rows</a></p>");
        }
        out.raw("</section>");
    }
    if !summary.saves.is_empty() {
        saves(out, &summary.saves);
    }
    out.raw("<section><h2>Throughput</h2><div class=\"plots\">");
    let time = now();
    plot::bars(out, &plot::DAY, &summary.ended, time);
    plot::bars(out, &plot::WEEK, &summary.ended, time);
    out.raw("</div></section>\n");
}

/// What people in OMERO asked to have saved in iRODS, newest first.
fn saves(out: &mut Html, saves: &[(String, Save)]) {
    out.raw(
        "<section id=\"saves\"><h2>From OMERO to iRODS</h2><div class=\"card\"><table><thead><tr><th scope=\"col\">Request\
         <th scope=\"col\">OMERO user<th scope=\"col\">State<th scope=\"col\" class=\"number\">Files\
         <th scope=\"col\" class=\"number\">Saved<th scope=\"col\" class=\"number\">There already\
         <th scope=\"col\" class=\"number\">Refused<th scope=\"col\">Why, and what to do</tr></thead><tbody>\n",
    );
    let time = now();
    for (name, save) in saves {
        html!(out; "<tr><td class=\"job\"><span title=\"" (date(save.created)) "\">" (name) ", "
            (span(time.saturating_sub(save.created))) " ago</span></td><td>" (save.user) "</td><td class=\"short\">"
            (save.state.as_str()) "</td><td class=\"number\">" (grouped(save.files)) "</td><td class=\"number\">"
            (grouped(save.saved)) "</td><td class=\"number\">" (grouped(save.already)) "</td><td class=\"number\">"
            (grouped(save.refused)) "</td><td class=\"wide\"><div>" (save.reason.as_deref().unwrap_or_default())
            "</div></td></tr>\n");
    }
    out.raw("</tbody></table></div></section>\n");
}

/// So many rows of the backlog stand on the first page.
const SHOWN_HELD: usize = 10;

/// The states of data that is not, or not rightly, in OMERO.
const HELD_STATES: [State; 5] =
    [State::Pending, State::Importing, State::Failed, State::Skipped, State::Stale];

/// What a cause means, in two words.
fn meaning(cause: &str) -> &'static str {
    let word = cause.split(' ').next().unwrap_or_default();
    match Cause::ALL.into_iter().find(|cause| cause.as_str() == word) {
        None => "waits",
        Some(Cause::Bytes) => "the file",
        Some(Cause::Name) => "its name",
        Some(Cause::Catalog) => "its replicas",
        Some(Cause::Place) => "not visible",
        Some(Cause::Target) => "the target",
        Some(Cause::Mapping) => "no OMERO user",
        Some(Cause::Tag) => "the tag",
        Some(Cause::Set) => "its set",
        Some(Cause::Asked) => "left alone",
        Some(Cause::Ours) => "given up",
    }
}

/// A table for each zone, the rows of most data first. Gives how many rows there are.
fn held_back(
    out: &mut Html,
    viewer: &Viewer,
    backlogs: &[Arc<Backlog>],
    most: usize,
    is_wanted: impl Fn(&Held) -> bool,
) -> usize {
    let web = &viewer.app.live.get().config.web;
    let (time, mut shown) = (now(), 0);
    for backlog in backlogs {
        html!(out; "<p>Zone <strong>" (backlog.zone) "</strong>: ");
        for state in HELD_STATES {
            let count = backlog.states.get(state.as_str()).copied().unwrap_or(0);
            html!(out; (grouped(count)) " " (state.as_str()) ", ");
        }
        html!(out; "as the zone told <span title=\"" (date(backlog.at)) "\">"
            (span(time.saturating_sub(backlog.at))) " ago</span>.</p>");
        let mut rows: Vec<&Held> = backlog.held.iter().filter(|held| is_wanted(held)).collect();
        rows.sort_by_key(|held| std::cmp::Reverse(held.objects));
        rows.truncate(most);
        if rows.is_empty() {
            out.raw("<p class=\"quiet\">Nothing is held back for such a reason.</p>");
            continue;
        }
        out.raw(
            "<div class=\"card\"><table><thead><tr><th scope=\"col\">Collection in iRODS<th scope=\"col\">What it is about\
             <th scope=\"col\" class=\"number\">Files<th scope=\"col\">Why, and what to do</tr></thead><tbody>\n",
        );
        for held in &rows {
            out.raw("<tr><td class=\"job\">");
            in_irods(out, web, &held.collection);
            html!(out; "</td><td class=\"short\">" (meaning(&held.cause)) "</td><td class=\"number\">" (grouped(held.objects))
                "</td><td class=\"wide\"><div>" (held.reason) "</div></td></tr>\n");
        }
        out.raw("</tbody></table></div>\n");
        if backlog.is_cut {
            out.raw(
                "<p class=\"quiet\">The list is not complete: the zone reports its largest rows only.</p>",
            );
        }
        shown += rows.len();
    }
    shown
}

/// A path, as a link where the site has a web client for iRODS.
fn in_irods(out: &mut Html, web: &Web, path: &LogicalPath) {
    match &web.irods {
        Some(address) => {
            let mut encoded = String::new();
            for byte in path.as_bytes() {
                if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
                    encoded.push(char::from(*byte));
                } else {
                    let _ = write!(encoded, "%{byte:02X}"); // writing to a String does not fail
                }
            }
            html!(out; "<a rel=\"noreferrer\" href=\"" (address.replace("{path}", &encoded)) "\">" (path.display()) "</a>");
        }
        None => out.text(&path.display()),
    }
}

/// The page of what the zones hold back.
pub fn backlog(viewer: &Viewer, filters: &BacklogFilters, found: &[Arc<Backlog>]) -> Response {
    let mut out = Html::default();
    head(&mut out, viewer);
    out.raw(
        "<h2>Held back in iRODS</h2><form class=\"row\" role=\"search\" method=\"get\" action=\"/backlog\">",
    );
    html!(out; "<label>iRODS zone<input name=\"zone\" value=\"" (filters.zone)
        "\"></label><label>What it is about<select name=\"cause\"><option value=\"\">anything</option>");
    for word in ["waits"].into_iter().chain(Cause::ALL.into_iter().map(Cause::as_str)) {
        html!(out; "<option value=\"" (word) "\"");
        if word == filters.cause {
            out.raw(" selected");
        }
        html!(out; ">" (meaning(word)) "</option>");
    }
    html!(out; "</select></label><label>Text in collection or reason<input type=\"search\" name=\"text\" value=\""
        (filters.text) "\"></label><button>Show</button>");
    if *filters != BacklogFilters::default() {
        out.raw("<a href=\"/backlog\">Show all</a>");
    }
    out.raw("</form>\n");
    if found.is_empty() {
        out.raw("<p class=\"quiet\">No zone has reported its backlog since the agent was started. It comes with the next sweep_all; an administrator of the zone runs install_recurring once.</p>");
    }
    held_back(&mut out, viewer, found, usize::MAX, |held| {
        let word = held.cause.split(' ').next().unwrap_or_default();
        let has_cause = filters.cause.is_empty() || word == filters.cause.replace("waits", "");
        let text = &filters.text;
        let has_text = text.is_empty()
            || held.reason.contains(text.as_str())
            || held.collection.display().contains(text.as_str());
        has_cause && has_text
    });
    foot(&mut out, true);
    page(StatusCode::OK, &"Held back in iRODS", &out, true)
}

fn filter_form(out: &mut Html, filters: &Filters) {
    out.raw("<form class=\"row\" role=\"search\" method=\"get\" action=\"/\"><label>State<select name=\"state\"><option value=\"\">any</option>");
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
    html!(out; "</select></label><label>iRODS zone<input name=\"zone\" value=\"" (filters.zone)
        "\"></label><label>OMERO user<input name=\"user\" value=\"" (filters.user)
        "\"></label><label>Text in path, group, reason or key<input type=\"search\" name=\"text\" value=\"" (filters.text)
        "\"></label><button>Show</button>");
    if *filters != Filters::default() {
        out.raw("<a href=\"/\">Show all</a>");
    }
    out.raw("</form>\n");
}

fn older(out: &mut Html, filters: &Filters, before: &str) {
    out.raw("<p><form method=\"get\" action=\"/\">");
    let kept = [
        ("state", &filters.state),
        ("zone", &filters.zone),
        ("user", &filters.user),
        ("text", &filters.text),
    ];
    for (name, value) in kept {
        html!(out; "<input type=\"hidden\" name=\"" (name) "\" value=\"" (value) "\">");
    }
    html!(out; "<button name=\"before\" value=\"" (before) "\">Older jobs</button></form></p>");
}

fn table(out: &mut Html, viewer: &Viewer, lines: &[Line], none: &'static str) {
    if lines.is_empty() {
        html!(out; "<p class=\"quiet\">" (none) "</p>");
        return;
    }
    out.raw(
        "<div class=\"card\"><table><thead><tr><th scope=\"col\">iRODS collection and job<th scope=\"col\">Zone<th scope=\"col\">User\
         <th scope=\"col\" class=\"number\">Files<th scope=\"col\">Submitted<th scope=\"col\">State",
    );
    if viewer.may_retry() {
        out.raw("<th scope=\"col\"><span class=\"quiet\">Action</span>");
    }
    out.raw("</tr></thead><tbody>\n");
    let time = now();
    for line in lines {
        let job = &line.job;
        html!(out; "<tr><td class=\"job\"><a href=\"/jobs/" (line.name) "\">" (title(line)) "</a> <span class=\"id quiet\">"
            (line.name) "</span></td><td class=\"short\">" (job.zone) "</td><td class=\"short\">" (job.user)
            "</td><td class=\"number\">" (grouped(job.files.into()))
            "</td><td class=\"fixed\" title=\"" (date(job.submitted)) "\">"
            (span(time.saturating_sub(job.submitted))) " ago</td><td class=\"wide\"><div>");
        state(out, line);
        out.raw("</div></td>");
        if viewer.may_retry() {
            out.raw("<td class=\"act\">");
            // Of a job that is done well the button is on its own page.
            if job.state != JobState::Done || job.failed > 0 {
                retry_button(out, viewer, line);
            }
            out.raw("</td>");
        }
        out.raw("</tr>\n");
    }
    out.raw("</tbody></table></div>\n");
}

/// What people know a job by.
fn title(line: &Line) -> &str {
    if line.job.place.is_empty() { &line.name } else { &line.job.place }
}

/// How far a job is, and why not further.
fn state(out: &mut Html, line: &Line) {
    let job = &line.job;
    html!(out; "<span class=\"state " (job.state.as_str()) "\">" (job.state.as_str()) "</span>");
    if let Some((linked, of)) = line.progress {
        html!(out; " <progress aria-label=\"Files linked\" value=\"" (linked) "\" max=\"" (of.max(1)) "\"></progress> "
            (grouped(linked)) " of " (grouped(of)) " linked");
    }
    if job.stopping {
        out.raw(" is being ended");
    }
    if job.failed > 0 {
        html!(out; " <span class=\"state failed\">" (grouped(job.failed.into())) " of its files failed</span>");
    }
    if let Some(reason) = &job.reason {
        html!(out; " " (reason));
    }
    if let Some(again) = next_try(job) {
        html!(out; " <span class=\"quiet\">(" (again) ")</span>");
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
    let Some(session) = viewer.session.as_ref().filter(|_| viewer.may_retry()) else { return };
    if matches!(line.job.state, JobState::Queued | JobState::Running) {
        return;
    }
    html!(out; "<form method=\"post\" action=\"/jobs/" (line.name) "/retry\"><input type=\"hidden\" name=\"csrf\" value=\""
        (session.csrf) "\"><button aria-label=\"Try job " (line.name) " again\">Try again</button></form>");
}

/// The page of a job.
pub fn job(viewer: &Viewer, whole: &Whole) -> Response {
    let (line, job) = (&whole.line, &whole.line.job);
    let mut out = Html::default();
    head(&mut out, viewer);
    html!(out; "<h2>Job <span class=\"id\">" (line.name) "</span></h2><p class=\"path\">" (job.place) "</p><p>");
    state(&mut out, line);
    out.raw("</p>");
    retry_button(&mut out, viewer, line);
    facts(&mut out, job);
    out.raw("<section><h2>History</h2><div class=\"card\"><dl class=\"history\">");
    for event in &whole.history {
        html!(out; "<dt>" (date(event.at)) "</dt><dd>" (event.what) "</dd>");
    }
    out.raw("</dl></div></section>");
    files(&mut out, &viewer.app.live.get().config.web, whole);
    if let Some(log) = &whole.log {
        html!(out; "<section><h2 id=\"log\">What the importer said at the last attempt</h2>"
            "<pre class=\"card\" tabindex=\"0\" role=\"region\" aria-labelledby=\"log\">" (log) "</pre></section>");
    }
    let looks_again = !job.state.is_final();
    foot(&mut out, looks_again);
    page(StatusCode::OK, &line.name, &out, looks_again)
}

fn facts(out: &mut Html, job: &Job) {
    let time = |t: Option<u64>| t.map_or_else(|| "not yet".to_owned(), date);
    html!(out; "<div class=\"card\"><dl class=\"facts\"><dt>OMERO user</dt><dd>" (job.user) "</dd><dt>iRODS zone</dt><dd>" (job.zone)
        "</dd><dt>OMERO group</dt><dd>" (job.group.as_deref().unwrap_or("the user's default"))
        "</dd><dt>Collection's number</dt><dd>" (job.collection)
        "</dd><dt>OMERO server</dt><dd>" (job.server) "</dd><dt>Files</dt><dd>" (grouped(job.files.into()))
        "</dd><dt>Submitted</dt><dd>" (date(job.submitted)) "</dd><dt>Priority</dt><dd>" (job.priority)
        "</dd><dt>Last started</dt><dd>" (time(job.started)) "</dd><dt>Attempts</dt><dd>" (job.attempts)
        "</dd><dt>Ended</dt><dd>" (time(job.ended)) "</dd><dt>Key</dt><dd class=\"id\">" (job.key) "</dd></dl></div>");
}

fn files(out: &mut Html, web: &Web, whole: &Whole) {
    let last = whole.from.saturating_add(whole.files.len());
    out.raw("<section><h2>Files</h2>");
    if whole.files.is_empty() {
        out.raw("<p class=\"quiet\">There are no further files.</p>");
    } else {
        out.raw("<div class=\"card\"><table><thead><tr><th scope=\"col\">Path in iRODS<th scope=\"col\">What became of it</tr></thead><tbody>\n");
    }
    for FileLine { path, outcome } in &whole.files {
        html!(out; "<tr><td><span>" (path) "</span></td><td class=\"wide\"><div>");
        match outcome {
            Some(outcome) => became(out, web, outcome),
            None => out.raw("<span class=\"quiet\">not known yet</span>"),
        }
        out.raw("</div></td></tr>\n");
    }
    if !whole.files.is_empty() {
        out.raw("</tbody></table></div>");
    }
    out.raw("<p>");
    if whole.from > 0 {
        html!(out; "<a href=\"/jobs/" (whole.line.name) "?from=" (whole.from.saturating_sub(FILES)) "\">Files before</a> ");
    }
    if last < usize::try_from(whole.line.job.files).unwrap_or(usize::MAX) && !whole.files.is_empty() {
        html!(out; "<a href=\"/jobs/" (whole.line.name) "?from=" (last) "\">Further files</a>");
    }
    out.raw("</p></section>");
}

fn became(out: &mut Html, web: &Web, outcome: &Outcome) {
    let (class, words) = match outcome.outcome {
        Became::Imported if outcome.adopted => ("done", "was in OMERO already"),
        Became::Imported => ("done", "imported"),
        Became::Joined => ("done", "belongs to a fileset that is in OMERO"),
        Became::Failed => ("failed", "failed"),
        Became::Postponed => ("waiting", "comes later"),
        Became::Unknown => ("waiting", "is tried again"),
        Became::UsesUnknown => ("waiting", "uses a file that iRODS has to be asked for"),
        Became::NotUsed => ("done", "not used"),
    };
    html!(out; "<span class=\"state " (class) "\">" (words) "</span>");
    let mut separator = " ";
    if let Some(fileset) = &outcome.fileset {
        html!(out; " fileset " (fileset));
        separator = ", ";
    }
    for (what, ids) in [("image", &outcome.images), ("plate", &outcome.plates)] {
        for id in ids.iter().take(SHOWN_IDS) {
            html!(out; (separator));
            if let Some(address) = web.omero.as_ref().filter(|_| what == "image") {
                let address = address.replace("{id}", &id.to_string());
                html!(out; "<a rel=\"noreferrer\" href=\"" (address) "\">" (what) " " (id) "</a>");
            } else {
                html!(out; (what) " " (id));
            }
            separator = ", ";
        }
        if let Some(more) = ids.len().checked_sub(SHOWN_IDS + 1) {
            html!(out; " and " (grouped(u64::try_from(more + 1).unwrap_or(u64::MAX))) " more");
        }
    }
    if let Some(reason) = &outcome.reason {
        html!(out; " " (reason));
    }
}

/// A number for people: `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = (digits.len() - 1) % 3 + 1;
    let mut text = digits[..first].to_owned();
    for start in (first..digits.len()).step_by(3) {
        text.push(',');
        text.push_str(&digits[start..start + 3]);
    }
    text
}

/// So many images and plates of one file are named.
const SHOWN_IDS: usize = 10;

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_stand_in_groups_of_three() {
        assert_eq!(
            [0, 999, 1_000, 123_456, 1_234_567].map(grouped),
            ["0", "999", "1,000", "123,456", "1,234,567"]
        );
    }
}
