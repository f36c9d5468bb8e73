// SPDX-License-Identifier: BSD-3-Clause
// The delay server: takes due rules from the queue and runs each in an agent of its own, several at a time.
#ifndef ZONE_DELAY_HPP
#define ZONE_DELAY_HPP

#include "session.hpp"

#include <string>

namespace zone
{
    struct DelayOptions
    {
        int executors = 4;
        double sleep_seconds = 1;
        // Ends when nothing is running or due and nothing is waiting but rules that repeat for ever.
        bool until_idle = false;
        // Ends after one look at the queue and the end of what that started.
        bool once = false;
        double timeout_seconds = 0; // 0: none
        // What becomes of a rule with EF whose agent was killed. The documentation says nothing. In 5.0.2 the
        // executor reports over the connection that broke, so the rule keeps its lock and is never run again ("stuck");
        // one without EF is deleted over a new connection. False: the run counts as failed, for tests that need the retry.
        bool killed_means_stuck = true;
    };

    // 0, or 1 if the time was up. When this process is killed its agents go on to the end of their rules, but nobody takes
    // the rules off the queue or unlocks them; what was fetched and not begun stays unlocked. Asked to end (SIGTERM) it
    // waits for its agents and settles their rules.
    int run_delay_server(Server& server, const DelayOptions& options);

    // What the EF text says is to be done after a run.
    struct NextRun
    {
        enum Decision
        {
            again_whatever_happened,
            again_unless_it_succeeded,
            never_again
        };
        Decision decision = never_again;
        long delay_seconds = 0;
        std::string frequency; // rewritten EF text, "" to leave it
    };
    NextRun next_run(const std::string& frequency);
} // namespace zone

#endif // ZONE_DELAY_HPP
