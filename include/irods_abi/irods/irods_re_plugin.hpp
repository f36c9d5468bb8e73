// SPDX-License-Identifier: BSD-3-Clause
// The rule engine plugin interface: the table of operations a factory fills, and the callback through
// which an operation reaches its session.
#ifndef IRODS_ABI_IRODS_RE_PLUGIN_HPP
#define IRODS_ABI_IRODS_RE_PLUGIN_HPP

#include "irods/irods_error.hpp"
#include "irods/irods_lookup_table.hpp"
#include "irods/irods_re_structs.hpp"
#include "irods/irods_state_table.h"

#include <boost/any.hpp>

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <tuple>
#include <typeinfo>
#include <utility>
#include <vector>

namespace irods
{
    using unit = std::tuple<>;
    using default_re_ctx = unit;
    using default_ms_ctx = ruleExecInfo_t*;

    class unpack
    {
      public:
        unpack(std::list<boost::any>& l);
        std::list<boost::any>& l_;
    };

    // Microservices, and the name "unsafe_ms_ctx", end here when no rule engine claims a name.
    template <typename C>
    class default_microservice_manager
    {
    };

    template <>
    class default_microservice_manager<default_ms_ctx>
    {
      public:
        error exec_microservice_adapter(std::string name, default_ms_ctx context, std::list<boost::any>& args);
    };

    enum rule_execution_manager_pack
    {
        AUDIT_RULE,
        DONT_AUDIT_RULE
    };

    // The server's own manager of all rule engines: only its address and size matter here.
    template <typename T, typename C>
    class rule_engine_manager
    {
        alignas(8) char irods_abi_room[40];
    };

    template <typename T, typename C>
    class rule_exists_manager
    {
      public:
        // A reference in the server; a pointer has the same layout and can be left empty.
        explicit rule_exists_manager(rule_engine_manager<T, C>* re_mgr)
            : re_mgr_{re_mgr}
        {
        }
        virtual ~rule_exists_manager() {}

      protected:
        friend struct ::irods_abi::layout;

        rule_engine_manager<T, C>* re_mgr_;
    };

    class callback;

    template <typename T, typename C, rule_execution_manager_pack Audit>
    class rule_engine_context_manager
    {
    };

    template <typename T, typename C>
    class rule_engine_context_manager<T, C, DONT_AUDIT_RULE> final : public rule_exists_manager<T, C>
    {
      public:
        rule_engine_context_manager(rule_engine_manager<T, C>* re_mgr, C ctx)
            : rule_exists_manager<T, C>{re_mgr}
            , ctx_{ctx}
        {
        }

      protected:
        friend struct ::irods_abi::layout;
        friend class callback;

        C ctx_;
    };

    template <typename T, typename C, rule_execution_manager_pack Audit>
    class dynamic_operation_execution_manager final
    {
        std::shared_ptr<rule_engine_context_manager<T, C, Audit>> re_mgr_;
    };

    template <typename T, typename C>
    class rule_engine_context_manager<T, C, AUDIT_RULE> final : public rule_exists_manager<T, C>
    {
      public:
        rule_engine_context_manager(rule_engine_manager<T, C>* re_mgr, C ctx)
            : rule_exists_manager<T, C>{re_mgr}
            , ctx_{ctx}
        {
        }

      protected:
        friend struct ::irods_abi::layout;
        friend class callback;

        C ctx_;
        dynamic_operation_execution_manager<T, C, DONT_AUDIT_RULE> rex_mgr_;
    };

    // The effect handler. `effect_handler(std::string{"unsafe_ms_ctx"}, &rei)` with a `ruleExecInfo_t* rei`
    // gives the rule's context, here as with the server's own headers. Any other name goes to the microservices
    // at once here, while the server's headers first offer it to the other rule engines.
    class callback final
    {
      public:
        template <typename T, typename C, rule_execution_manager_pack Audit>
        callback(rule_engine_context_manager<T, C, Audit>& handler)
            : callback_hdlr_(&handler)
        {
        }

        template <typename... As>
        error operator()(const std::string& name, As&&... args)
        {
            default_ms_ctx context = nullptr;
            if (!find_context(context)) {
                return ERROR(RE_TYPE_ERROR, "unsupported effect handler type");
            }
            std::list<boost::any> list{boost::any(std::decay_t<As>(std::forward<As>(args)))...};
            if (name == "unsafe_ms_ctx" && list.size() == 1) {
                if (auto* out = boost::any_cast<ruleExecInfo_t**>(&list.front())) {
                    **out = context;
                    return SUCCESS();
                }
            }
            return default_microservice_manager<default_ms_ctx>{}.exec_microservice_adapter(name, context, list);
        }

      protected:
        friend struct ::irods_abi::layout;

        boost::any callback_hdlr_;

      private:
        using audited = rule_engine_context_manager<default_re_ctx, default_ms_ctx, AUDIT_RULE>;
        using unaudited = rule_engine_context_manager<default_re_ctx, default_ms_ctx, DONT_AUDIT_RULE>;

        bool find_context(default_ms_ctx& context)
        {
            if (auto* handler = boost::any_cast<audited*>(&callback_hdlr_)) {
                context = (*handler)->ctx_;
                return true;
            }
            if (auto* handler = boost::any_cast<unaudited*>(&callback_hdlr_)) {
                context = (*handler)->ctx_;
                return true;
            }
            return false;
        }
    };

    // What `plugin_factory` returns, allocated with new; the server deletes it. The types of the functions
    // put in must be exactly those of the interface: the server takes them out by type.
    template <typename T>
    class pluggable_rule_engine final
    {
      public:
        pluggable_rule_engine(const std::string& instance_name, const std::string& /* context */)
            : instance_name_{instance_name}
        {
        }

        template <typename... Args>
        error add_operation(const std::string& name, std::function<error(Args...)> operation)
        {
            if (name.empty()) {
                return ERROR(SYS_INVALID_INPUT_PARAM, "an operation needs a name");
            }
            operations_[name] = operation;
            return SUCCESS();
        }

      private:
        friend struct ::irods_abi::layout;
        friend struct irods_abi_rule_engine; // whoever stands in for the server and calls the operations

        lookup_table<boost::any> operations_;
        std::string instance_name_;
    };
} // namespace irods

#endif // IRODS_ABI_IRODS_RE_PLUGIN_HPP
