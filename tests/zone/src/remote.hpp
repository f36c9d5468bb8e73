// SPDX-License-Identifier: BSD-3-Clause
// A consumer's connection to the catalog provider. It belongs to the client's user: whatever right a plugin
// gave the session on this server, the provider looks the user up itself. What goes through it is a call of a
// client there, so the provider fires its PEPs.
#ifndef ZONE_REMOTE_HPP
#define ZONE_REMOTE_HPP

#include "json.hpp"

#include <string>
#include <vector>

#include <sys/types.h>

namespace zone
{
    class Remote
    {
      public:
        // Starts a provider agent for the user: this same program with `script -`.
        Remote(const std::string& program, const std::vector<std::string>& arguments);
        ~Remote();
        Remote(const Remote&) = delete;
        Remote& operator=(const Remote&) = delete;

        struct Answer
        {
            int code = 0;
            std::string output;
            std::vector<std::string> messages;
        };
        // Runs one verb there. Failure SYS_INTERNAL_ERR if the agent is gone.
        Answer call(const std::vector<std::string>& words);

      private:
        pid_t child_ = -1;
        int to_ = -1;
        int from_ = -1;
        std::string unread_;
    };
} // namespace zone

#endif // ZONE_REMOTE_HPP
