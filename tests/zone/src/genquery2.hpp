// SPDX-License-Identifier: BSD-3-Clause
// GenQuery2 of iRODS 5.0.2 over the SQLite catalog: the same grammar, columns and joins, so that a query
// gives the rows it would give there, repeated rows and all (see genquery2.cpp).
#ifndef ZONE_GENQUERY2_HPP
#define ZONE_GENQUERY2_HPP

#include "catalog.hpp"
#include "json.hpp"

#include <string>
#include <vector>

namespace zone
{
    struct GeneratedSql
    {
        std::string sql;
        std::vector<Value> values;
    };

    // Failure SYS_LIBRARY_ERROR for what the parser or the database of a real zone would refuse,
    // SYS_INVALID_INPUT_PARAM for unknown columns and tables that cannot be joined.
    GeneratedSql genquery2_to_sql(const std::string& query, const Actor& actor);

    // Rows as a JSON array of arrays of strings. Without LIMIT at most 256 rows.
    Json genquery2(Catalog& catalog, const std::string& query, const Actor& actor);

    // Column names, as `iquery -c` lists them.
    std::vector<std::string> genquery2_columns();
} // namespace zone

#endif // ZONE_GENQUERY2_HPP
