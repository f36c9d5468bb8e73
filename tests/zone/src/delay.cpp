// SPDX-License-Identifier: BSD-3-Clause

#include "delay.hpp"

#include "support.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <map>

namespace zone
{
    namespace
    {
        constexpr int connection_lost = -4000; // what the executor sees of an agent that died
        const char* const service_account = "rods";

        volatile sig_atomic_t asked_to_end = 0;

        void ask_to_end(int)
        {
            asked_to_end = 1;
        }

        using Clock = std::chrono::steady_clock;

        // An agent at work, and the pipe its result comes through.
        struct Running
        {
            DelayedRule rule;
            int result = -1;
        };

        // ZONE_DIE names a file of lines "N TEXT": the first agent that runs a rule with this text in it kills itself
        // before the N-th call of the server's functions. The file beside it with the line's number is there then.
        std::int64_t planned_death(const std::string& rule)
        {
            const char* file = std::getenv("ZONE_DIE");
            if (file == nullptr) {
                return 0;
            }
            int number = 0;
            for (const auto& line : split(read_file(file), '\n')) {
                ++number;
                const auto blank = line.find(' ');
                if (blank == std::string::npos || rule.find(line.substr(blank + 1)) == std::string::npos) {
                    continue;
                }
                const std::string taken = std::string{file} + "." + std::to_string(number);
                const int descriptor = ::open(taken.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
                if (descriptor >= 0) {
                    ::close(descriptor);
                    return std::atoll(line.c_str());
                }
            }
            return 0;
        }

        // The agent: a connection of the service account that takes the client of the rule's context for its own, right
        // and all. Nobody looks whether there is such a user (any more).
        int execute(Server& server, const DelayedRule& rule)
        {
            Session session{server, service_account};
            session.comm()->proxyUser.authInfo.authFlag = LOCAL_PRIV_USER_AUTH;
            fill_user(session.comm()->clientUser, User{0, rule.user, rule.user_zone, rule.user_type});
            session.comm()->clientUser.authInfo.authFlag = rule.auth_flag;
            session.dies_at_call = planned_death(rule.text);
            session.rule = rule.id;
            server.plugins.start();
            RuleContext context{session.comm(), rule.instance};
            msParamArray_t parameters{0, 0, nullptr};
            context.info().msParamArray = &parameters;
            const auto result = server.plugins.exec_rule_expression(rule.instance, rule.text, &parameters, context.callback());
            if (!result.ok()) {
                log_line("error", "delayed rule " + std::to_string(rule.id) + ": " + result.result());
            }
            const int code = result.ok() ? 0 : static_cast<int>(result.code() < 0 ? result.code() : -1);
            server.plugins.stop();
            session.write_statistics();
            return code;
        }

        pid_t start_agent(Server& server, const DelayedRule& rule, int& result_pipe)
        {
            int ends[2];
            if (::pipe(ends) != 0) {
                throw Failure{SYS_INTERNAL_ERR, "pipe"};
            }
            const pid_t child = ::fork();
            if (child < 0) {
                throw Failure{SYS_INTERNAL_ERR, "fork"};
            }
            if (child == 0) {
                ::signal(SIGTERM, SIG_DFL);
                ::signal(SIGINT, SIG_DFL);
                sigset_t none;
                ::sigemptyset(&none);
                ::sigprocmask(SIG_SETMASK, &none, nullptr);
                ::close(ends[0]);
                int code = SYS_INTERNAL_ERR;
                try {
                    code = execute(server, rule);
                }
                catch (const Failure& failure) {
                    log_line("error", "delayed rule " + std::to_string(rule.id) + ": " + failure.what());
                    code = failure.code();
                }
                catch (const std::exception& e) {
                    log_line("error", "delayed rule " + std::to_string(rule.id) + ": " + e.what());
                }
                if (::write(ends[1], &code, sizeof code) != sizeof code) {
                    ::_exit(1);
                }
                ::_exit(0);
            }
            ::close(ends[1]);
            result_pipe = ends[0];
            return child;
        }

        // Brings the queue up to date after a run.
        void settle(Catalog& catalog, const DelayedRule& rule, int code, bool killed, const DelayOptions& options)
        {
            log_line("notice", "delayed rule " + std::to_string(rule.id) + " ended with " + std::to_string(code) +
                                   (killed ? " (agent killed)" : ""));
            if (rule.frequency.empty()) {
                catalog.remove_rule(rule.id);
                return;
            }
            if (killed && options.killed_means_stuck) {
                return;
            }
            const auto next = next_run(rule.frequency);
            const bool again = next.decision == NextRun::again_whatever_happened ||
                               (next.decision == NextRun::again_unless_it_succeeded && code < 0);
            if (!again) {
                catalog.remove_rule(rule.id);
                return;
            }
            const auto now = std::time(nullptr);
            catalog.reschedule_rule(rule.id, std::to_string(now), std::to_string(now + next.delay_seconds), next.frequency);
        }

        bool repeats_for_ever(const DelayedRule& rule)
        {
            return !rule.frequency.empty() && next_run(rule.frequency).decision == NextRun::again_whatever_happened;
        }

        // Whether a rule is due, or will be, other than those that repeat for ever and those nobody will run.
        bool anything_waits(Catalog& catalog)
        {
            const auto rules = catalog.rules();
            const std::string now = std::to_string(std::time(nullptr));
            return std::any_of(rules.begin(), rules.end(), [&now](const DelayedRule& rule) {
                return rule.lock_host.empty() && (rule.due <= now || !repeats_for_ever(rule));
            });
        }

        // How long may be slept: to the next poll, the time-out or the end of an agent, whichever is first.
        void sleep_or_child(double seconds)
        {
            sigset_t set;
            ::sigemptyset(&set);
            ::sigaddset(&set, SIGCHLD);
            const auto whole = static_cast<time_t>(seconds);
            const timespec limit{whole, static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
            ::sigtimedwait(&set, nullptr, &limit);
        }
    } // namespace

    NextRun next_run(const std::string& text)
    {
        std::size_t at = text.find_first_not_of("0123456789");
        if (at == std::string::npos) {
            at = text.size();
        }
        const long number = std::atol(text.substr(0, at).c_str());
        const char unit = at < text.size() ? text[at] : 's';
        long factor = 1;
        switch (unit) {
            case 'm':
                factor = 60;
                break;
            case 'h':
                factor = 3600;
                break;
            case 'd':
                factor = 24L * 3600;
                break;
            case 'y':
                factor = 365L * 24 * 3600;
                break;
            default:
                break;
        }
        std::string directive = at < text.size() ? text.substr(at + 1) : "";
        directive.erase(0, directive.find_first_not_of(" \t\n"));

        NextRun next;
        next.delay_seconds = number * factor;
        const std::string doubled = std::to_string(number * 2) + unit + " ";
        for (const bool doubles : {false, true}) {
            const std::string word = doubles ? "DOUBLE" : "REPEAT";
            const std::string counted = word + " UNTIL SUCCESS OR ";
            if (directive == word + " FOR EVER") {
                next.decision = NextRun::again_whatever_happened;
                next.frequency = doubles ? doubled + directive : "";
                return next;
            }
            if (starts_with(directive, counted) && directive.find_first_of("0123456789") == counted.size()) {
                const int left = std::atoi(directive.c_str() + counted.size()) - 1;
                const auto original_at = directive.find("ORIGINAL TIMES");
                const std::string rest = original_at != std::string::npos
                                             ? "TIMES. " + directive.substr(original_at)
                                             : "TIMES. ORIGINAL TIMES=" + std::to_string(left + 1);
                next.frequency = (doubles ? doubled : std::to_string(number) + unit + " ") + counted + std::to_string(left) + " " + rest;
                next.decision = left > 0 ? NextRun::again_unless_it_succeeded : NextRun::never_again;
                return next;
            }
            if (starts_with(directive, word + " UNTIL SUCCESS")) {
                next.decision = NextRun::again_unless_it_succeeded;
                next.frequency = doubles ? doubled + directive : "";
                return next;
            }
        }
        // Nothing after the number, or what nobody knows: for ever.
        next.decision = NextRun::again_whatever_happened;
        return next;
    }

    int run_delay_server(Server& server, const DelayOptions& options)
    {
        Database database{server.catalog_file()};
        Catalog catalog{database, Catalog::zone_of(database)};
        sigset_t set;
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGCHLD);
        ::sigprocmask(SIG_BLOCK, &set, nullptr);
        ::signal(SIGTERM, ask_to_end);
        ::signal(SIGINT, ask_to_end);

        std::map<pid_t, Running> running;
        std::deque<std::int64_t> fetched; // and not begun
        const auto started = Clock::now();
        auto next_look = started;
        bool looked = false;
        for (;;) {
            int status = 0;
            for (pid_t child = ::waitpid(-1, &status, WNOHANG); child > 0; child = ::waitpid(-1, &status, WNOHANG)) {
                const auto found = running.find(child);
                if (found == running.end()) {
                    continue;
                }
                int code = connection_lost;
                const bool reported = ::read(found->second.result, &code, sizeof code) == sizeof code;
                ::close(found->second.result);
                settle(catalog, found->second.rule, code, !reported, options);
                running.erase(found);
            }
            if (asked_to_end != 0 && running.empty()) {
                return 0;
            }
            const auto now = Clock::now();
            const double elapsed = std::chrono::duration<double>(now - started).count();
            if (options.timeout_seconds > 0 && elapsed > options.timeout_seconds) {
                for (const auto& [child, agent] : running) {
                    ::kill(child, SIGKILL);
                }
                return 1;
            }
            const bool may_begin = asked_to_end == 0;
            // The fetch is itself a task of the executors: it waits until one is free and nothing fetched before is left.
            const bool free = fetched.empty() && static_cast<int>(running.size()) < options.executors;
            if (may_begin && free && now >= next_look && !(options.once && looked)) {
                for (const auto id : catalog.due_rules(std::to_string(std::time(nullptr)))) {
                    fetched.push_back(id);
                }
                looked = true;
                next_look = now + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.sleep_seconds));
            }
            if (!may_begin) {
                fetched.clear();
            }
            while (!fetched.empty() && static_cast<int>(running.size()) < options.executors) {
                const auto id = fetched.front();
                fetched.pop_front();
                // Locked by another delay server, or deleted, since it was fetched.
                if (!catalog.lock_rule(id, server.name, ::getpid())) {
                    continue;
                }
                const auto rule = catalog.rule(id);
                if (!rule) {
                    continue;
                }
                Running agent;
                agent.rule = *rule;
                const pid_t child = start_agent(server, *rule, agent.result);
                running.emplace(child, std::move(agent));
            }
            if (running.empty() && fetched.empty() && options.once && looked) {
                return 0;
            }
            if (running.empty() && fetched.empty() && options.until_idle && !anything_waits(catalog)) {
                return 0;
            }
            const double to_poll = std::chrono::duration<double>(next_look - Clock::now()).count();
            double pause = std::max(0.001, options.once ? 0.05 : to_poll);
            if (options.timeout_seconds > 0) {
                pause = std::min(pause, std::max(0.001, options.timeout_seconds - elapsed));
            }
            sleep_or_child(pause);
        }
    }
} // namespace zone
