// SPDX-License-Identifier: BSD-3-Clause
// AVUs: the classic call and the atomic one. An AVU is a row shared by all objects that have the same triple;
// taking it off the last object leaves the row, with its times, behind.
//
// Nothing makes a triple unique (R_META_MAIN has no such index). Whoever adds one looks for its row first and inserts one
// if there is none, and what others insert meanwhile is not seen (PostgreSQL reads what is committed). So two clients that
// add a triple the catalog has never held both succeed, with a row each. What is unique is an object and a row: of several
// clients that attach one row to one object one wins. Where a triple has several rows, the first is found.
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

    // Copies all AVUs of one object to another. Failure CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, and nothing copied, if that
    // one has one of them already.
    void copy_metadata(Catalog& catalog, std::int64_t from, std::int64_t to);

    // The id of a thing named on the command line of imeta: -d, -C, -u, -R. Failure if there is none.
    std::int64_t find_entity(Session& session, const std::string& type, const std::string& name);
} // namespace zone

#endif // ZONE_METADATA_HPP
