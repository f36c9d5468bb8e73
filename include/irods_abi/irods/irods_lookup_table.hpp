// SPDX-License-Identifier: BSD-3-Clause
// A named table with a virtual destructor.
#ifndef IRODS_ABI_IRODS_LOOKUP_TABLE_HPP
#define IRODS_ABI_IRODS_LOOKUP_TABLE_HPP

#include "irods/irods_error.hpp"
#include "irods/irods_hash.hpp"
#include "irods/rodsErrorTable.h"
#include "irods/rodsLog.h"

#include <boost/any.hpp>

#include <string>
#include <unordered_map>

namespace irods
{
    template <typename ValueType, typename KeyType = std::string, typename HashType = irods_string_hash>
    class lookup_table
    {
      public:
        lookup_table() = default;
        virtual ~lookup_table() = default;

        ValueType& operator[](KeyType key) { return table_[key]; }
        bool has_entry(const KeyType& key) const { return table_.count(key) != 0; }
        std::size_t size() const noexcept { return table_.size(); }
        bool empty() const noexcept { return table_.empty(); }

        auto begin() noexcept { return table_.begin(); }
        auto end() noexcept { return table_.end(); }
        auto find(const KeyType& key) { return table_.find(key); }

      protected:
        friend struct ::irods_abi::layout;

        std::unordered_map<KeyType, ValueType, HashType> table_;
    };

    using plugin_property_map = lookup_table<boost::any>;
} // namespace irods

#endif // IRODS_ABI_IRODS_LOOKUP_TABLE_HPP
