// SPDX-License-Identifier: BSD-3-Clause

#include "remote.hpp"

#include "support.hpp"
#include "verbs.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace zone
{
    Remote::Remote(const std::string& program, const std::vector<std::string>& arguments)
    {
        int to[2];
        int from[2];
        if (::pipe(to) != 0 || ::pipe(from) != 0) {
            throw Failure{SYS_INTERNAL_ERR, "pipe"};
        }
        child_ = ::fork();
        if (child_ < 0) {
            throw Failure{SYS_INTERNAL_ERR, "fork"};
        }
        if (child_ == 0) {
            ::dup2(to[0], STDIN_FILENO);
            ::dup2(from[1], STDOUT_FILENO);
            for (const int fd : {to[0], to[1], from[0], from[1]}) {
                ::close(fd);
            }
            std::vector<char*> argv{const_cast<char*>(program.c_str())};
            for (const auto& argument : arguments) {
                argv.push_back(const_cast<char*>(argument.c_str()));
            }
            argv.push_back(nullptr);
            ::execv("/proc/self/exe", argv.data());
            ::_exit(127);
        }
        // A provider that is gone is an answer that does not come, not the end of this agent.
        ::signal(SIGPIPE, SIG_IGN);
        ::close(to[0]);
        ::close(from[1]);
        to_ = to[1];
        from_ = from[0];
    }

    Remote::~Remote()
    {
        ::close(to_);
        ::close(from_);
        int status = 0;
        ::waitpid(child_, &status, 0);
    }

    Remote::Answer Remote::call(const std::vector<std::string>& words)
    {
        Json request = Json::array();
        for (const auto& word : words) {
            request.push(to_json_bytes(word));
        }
        std::string line = request.dump() + "\n";
        for (std::size_t sent = 0; sent < line.size();) {
            const auto written = ::write(to_, line.data() + sent, line.size() - sent);
            if (written < 0 && errno != EINTR) {
                throw Failure{SYS_INTERNAL_ERR, "the provider's agent is gone"};
            }
            sent += written > 0 ? static_cast<std::size_t>(written) : 0;
        }
        for (;;) {
            const auto end = unread_.find('\n');
            if (end != std::string::npos) {
                const Json answer = Json::parse(std::string_view{unread_}.substr(0, end));
                unread_.erase(0, end + 1);
                Answer result;
                result.code = static_cast<int>(answer.find("code")->as_integer());
                result.output = bytes_of(*answer.find("output"));
                return result;
            }
            char buffer[65536];
            const auto got = ::read(from_, buffer, sizeof buffer);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got <= 0) {
                throw Failure{SYS_INTERNAL_ERR, "the provider's agent is gone"};
            }
            unread_.append(buffer, static_cast<std::size_t>(got));
        }
    }
} // namespace zone
