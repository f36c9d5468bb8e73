// SPDX-License-Identifier: BSD-3-Clause
// Argument of GenQuery2. `query_string` and `zone` stay the caller's; `zone` null means the local one.
#ifndef IRODS_ABI_GENQUERY2_H
#define IRODS_ABI_GENQUERY2_H

typedef struct Genquery2Input {
    char* query_string;
    char* zone;
    int sql_only;
    int column_mappings;
} genquery2Inp_t;

#endif // IRODS_ABI_GENQUERY2_H
