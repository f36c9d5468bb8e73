// SPDX-License-Identifier: BSD-3-Clause
// AVUs: the classic call and the atomic one. An AVU is a row shared by all objects that have the same triple;
// taking it off the last object leaves the row, with its times, behind.
#ifndef ZONE_METADATA_HPP
#define ZONE_METADATA_HPP

#include "session.hpp"

#include "irods/modAVUMetadata.h"

#include <string>
#include <vector>

namespace zone
{
    struct Avu
    {
        std::string attribute;
        std::string value;
        std::string units;
    };

    // What rsModAVUMetadata does: add, set, rm, rmi, mod, cp (5.0 knows no other). Throws Failure.
    void modify_metadata(Session& session, const ModifyAVUMetadataInput& input);

    // What rs_atomic_apply_metadata_operations does. `output` is "{}" or an error object.
    int apply_metadata_operations(Session& session, const std::string& json, std::string& output);

    std::vector<Avu> metadata_of(Catalog& catalog, std::int64_t object_id);

    // Copies all AVUs of one object to another.
    void copy_metadata(Catalog& catalog, std::int64_t from, std::int64_t to);

    // The id of a thing named on the command line of imeta: -d, -C, -u, -R. Failure if there is none.
    std::int64_t find_entity(Session& session, const std::string& type, const std::string& name);
} // namespace zone

#endif // ZONE_METADATA_HPP
