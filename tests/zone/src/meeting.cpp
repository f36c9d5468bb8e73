// SPDX-License-Identifier: BSD-3-Clause

#include "meeting.hpp"

#include "support.hpp"

#include <unistd.h>

#include <chrono>
#include <set>
#include <thread>

namespace zone
{
    namespace
    {
        constexpr std::chrono::seconds patience{120};
        constexpr std::chrono::milliseconds pause{1};

        std::string invitation(const std::string& directory, const std::string& point)
        {
            return directory + "/meetings/" + point;
        }

        std::string attendance(const std::string& directory, const std::string& point)
        {
            return invitation(directory, point) + ".here";
        }

        std::size_t present(const std::string& list)
        {
            std::set<std::string> processes;
            for (const auto& line : split(read_file(list), '\n')) {
                if (!line.empty()) {
                    processes.insert(line);
                }
            }
            return processes.size();
        }
    } // namespace

    bool is_meeting_point(const std::string& point)
    {
        return point == "avu" || point == "collection" || (starts_with(point, "before-") && point.find('/') == std::string::npos);
    }

    void arrange_meeting(const std::string& directory, const std::string& point, int clients, const std::string& subject)
    {
        make_directories(directory + "/meetings");
        write_file(attendance(directory, point), "");
        write_file(invitation(directory, point), std::to_string(clients) + "\n" + subject);
    }

    bool meet(const std::string& directory, const std::string& point, const std::string& subject)
    {
        if (!file_exists(invitation(directory, point))) {
            return false;
        }
        const std::string text = read_file(invitation(directory, point));
        const auto end = text.find('\n');
        const std::string wanted = end == std::string::npos ? "" : text.substr(end + 1);
        if (!wanted.empty() && wanted != subject) {
            return false;
        }
        const auto clients = static_cast<std::size_t>(std::stoul(text));
        const std::string list = attendance(directory, point);
        append_line(list, std::to_string(::getpid()));
        const auto started = std::chrono::steady_clock::now();
        while (present(list) < clients) {
            if (std::chrono::steady_clock::now() - started > patience) {
                throw Failure{SYS_INTERNAL_ERR, "nobody else came to the meeting [" + point + "] about [" + subject + "]"};
            }
            std::this_thread::sleep_for(pause);
        }
        return true;
    }

    std::size_t present_at_meeting(const std::string& directory, const std::string& point)
    {
        const std::string list = attendance(directory, point);
        return file_exists(list) ? present(list) : 0;
    }

    void join_meeting(const std::string& directory, const std::string& point)
    {
        append_line(attendance(directory, point), "the test " + std::to_string(::getpid()));
    }
} // namespace zone
