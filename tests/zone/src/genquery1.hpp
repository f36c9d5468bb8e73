// SPDX-License-Identifier: BSD-3-Clause
// GenQuery, the first: columns by number, conditions as text. Only the columns a rule engine plugin has use for.
#ifndef ZONE_GENQUERY1_HPP
#define ZONE_GENQUERY1_HPP

#include "session.hpp"

#include "irods/rodsGenQuery.h"

namespace zone
{
    // On 0, `*out` is the caller's, to be released with freeGenQueryOut. More rows than maxRows leave a
    // continueInx. Throws Failure: CAT_NO_ROWS_FOUND where there are none.
    void genquery1(Session& session, const GenQueryInp& input, GenQueryOut** out);
} // namespace zone

#endif // ZONE_GENQUERY1_HPP
