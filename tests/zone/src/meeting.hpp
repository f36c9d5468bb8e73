// SPDX-License-Identifier: BSD-3-Clause
// Races that happen every time: a test names a point where clients wait for each other, and how many must have come
// before all of them go on. On a real server the same happens now and then.
#ifndef ZONE_MEETING_HPP
#define ZONE_MEETING_HPP

#include <cstddef>
#include <string>

namespace zone
{
    // The points:
    //   avu         between the look for the row of a triple and its insertion; the subject is the attribute
    //   collection  between the look for a collection and its registration; the subject is the path
    //   before-F    before a plugin's call of the server's function F (genquery1, genquery2, modavu, atomic, delayexec,
    //               collcreate, ...) does anything; the subject is the name of the session's client
    bool is_meeting_point(const std::string& point);

    // Arranges a meeting of so many clients. Each process counts once; those who come after the last are not held. An
    // empty subject means any. The next meeting at the same point replaces this one.
    void arrange_meeting(const std::string& directory, const std::string& point, int clients, const std::string& subject);

    // Waits there if a meeting is arranged for this subject; gives whether there is one. Failure SYS_INTERNAL_ERR if the
    // others do not come within two minutes.
    bool meet(const std::string& directory, const std::string& point, const std::string& subject);

    // How many have come so far.
    std::size_t present_at_meeting(const std::string& directory, const std::string& point);
    // A test comes itself, without waiting: so it lets go whom it held.
    void join_meeting(const std::string& directory, const std::string& point);
} // namespace zone

#endif // ZONE_MEETING_HPP
