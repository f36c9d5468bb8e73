// SPDX-License-Identifier: BSD-3-Clause
// What a client program does: one verb is one or more API calls in the order icommands or the Python client
// make them.
#ifndef ZONE_VERBS_HPP
#define ZONE_VERBS_HPP

#include "json.hpp"
#include "session.hpp"

#include <string>
#include <vector>

namespace zone
{
    struct VerbResult
    {
        int code = 0;
        std::string output;                // printed; may be any bytes
        std::vector<std::string> messages; // left for the client by plugins
        std::string failure;               // why, for whoever reads the test
    };

    // A verb word by word, e.g. {"put", "-f", "/tmp/x", "/tempZone/home/alice/x"}. Throws UsageError for a verb
    // that does not exist or lacks a word.
    VerbResult run_verb(Session& session, const std::vector<std::string>& words);

    class UsageError : public std::runtime_error
    {
      public:
        using std::runtime_error::runtime_error;
    };

    // All verbs with their words, for the usage text.
    std::string verbs_help();

    // Bytes in JSON: a string if they are UTF-8, else {"hex": ".."}. And back.
    Json to_json_bytes(const std::string& bytes);
    std::string bytes_of(const Json& value);
} // namespace zone

#endif // ZONE_VERBS_HPP
