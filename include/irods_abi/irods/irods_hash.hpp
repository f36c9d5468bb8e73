// SPDX-License-Identifier: BSD-3-Clause
// The hash of the server's tables. Both sides must agree on it to the bit: the server looks up what the
// plugin put in.
#ifndef IRODS_ABI_IRODS_HASH_HPP
#define IRODS_ABI_IRODS_HASH_HPP

#include <cstddef>
#include <string>

namespace irods
{
    struct irods_string_hash
    {
        std::size_t operator()(const std::string& key) const
        {
            std::size_t hash = 0;
            for (const char* p = key.c_str(); *p != '\0'; ++p) {
                hash = 31 * hash + static_cast<unsigned char>(*p);
            }
            return hash;
        }
    };
} // namespace irods

#endif // IRODS_ABI_IRODS_HASH_HPP
