// SPDX-License-Identifier: BSD-3-Clause
// How fast a plugin answers: its operations called in a loop in one agent, without the server around them.
#ifndef ZONE_BENCH_HPP
#define ZONE_BENCH_HPP

#include "session.hpp"

#include <string>

namespace zone
{
    // Each gives one line of JSON: calls per second, and what the plugin asked of the catalog.
    std::string bench_rule_exists(Session& session, const std::string& rule, long count);
    // `pep` with arguments of its recorded types, about data objects below `collection`.
    std::string bench_event(Session& session, const std::string& pep, const std::string& collection, long count);
} // namespace zone

#endif // ZONE_BENCH_HPP
