// SPDX-License-Identifier: BSD-3-Clause
// The second argument of every PEP, passed by value. A rule engine has no use for its contents; it must
// only be recognised, copied and dropped.
#ifndef IRODS_ABI_IRODS_PLUGIN_CONTEXT_HPP
#define IRODS_ABI_IRODS_PLUGIN_CONTEXT_HPP

#include "irods/irods_lookup_table.hpp"
#include "irods/rcConnect.h"

#include <boost/shared_ptr.hpp>

#include <string>

namespace irods
{
    class first_class_object;
    using first_class_object_ptr = boost::shared_ptr<first_class_object>;

    class plugin_context
    {
      public:
        plugin_context(rsComm_t* comm, plugin_property_map& properties)
            : comm_{comm}
            , prop_map_{&properties}
        {
        }

        virtual ~plugin_context() {}
        virtual error valid() { return SUCCESS(); }
        virtual rsComm_t* comm() { return comm_; }
        virtual plugin_property_map& prop_map() { return *prop_map_; }
        virtual first_class_object_ptr fco() { return fco_; }
        virtual const std::string rule_results() { return results_; }
        virtual void comm(rsComm_t* comm) { comm_ = comm; }
        virtual void rule_results(const std::string& results) { results_ = results; }

      protected:
        rsComm_t* comm_;
        plugin_property_map* prop_map_;
        first_class_object_ptr fco_;
        std::string results_;
    };
} // namespace irods

#endif // IRODS_ABI_IRODS_PLUGIN_CONTEXT_HPP
