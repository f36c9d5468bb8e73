// SPDX-License-Identifier: BSD-3-Clause
// Rule engine plugins: loading them as the server does, and the loop that offers them a rule.
#ifndef ZONE_PLUGINS_HPP
#define ZONE_PLUGINS_HPP

#include "json.hpp"

#include "irods/irods_re_plugin.hpp"

#include <boost/any.hpp>

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

namespace zone
{
    // The regexes plugins registered in `setup`: an operation that matches none is not offered.
    bool is_offered(const std::string& pep_name);
    std::vector<std::string> registered_regexes();

    class PluginHost
    {
      public:
        // Loads every entry of plugin_configuration.rule_engines, in order, from `<directory>/lib<plugin_name>.so`.
        // Failure PLUGIN_ERROR names what could not be loaded. A real server would log it and go on without;
        // a test zone that silently lacks its plugin helps nobody.
        void load(const Json& server_config, const std::string& plugin_directory);

        // The four calls of a plugin's life.
        void setup();
        void teardown();
        void start();
        void stop();

        bool empty() const { return engines_.empty(); }

        // True as soon as one engine has the rule.
        bool rule_exists(const std::string& rule);
        // Asks each engine in order whether it has the rule and runs it there; goes on after
        // RULE_ENGINE_CONTINUE and SYS_NOT_SUPPORTED. `observe` gets the instance and the code of each run.
        irods::error exec_rule(const std::string& rule, const std::function<std::list<boost::any>()>& arguments,
                               irods::callback callback,
                               const std::function<void(const std::string&, long long)>& observe = {});
        // An empty instance offers the text to every engine, whatever they answer.
        irods::error exec_rule_text(const std::string& instance, const std::string& text, msParamArray_t* parameters,
                                    const std::string& out_description, irods::callback callback);
        irods::error exec_rule_expression(const std::string& instance, const std::string& text,
                                          msParamArray_t* parameters, irods::callback callback);
        std::vector<std::string> list_rules();

      private:
        struct Loaded
        {
            std::string instance;
            irods::pluggable_rule_engine<irods::default_re_ctx>* engine = nullptr;
            irods::default_re_ctx context;
        };
        std::vector<Loaded> engines_;
    };

    // The context of one rule: what a plugin reaches through its callback.
    class RuleContext
    {
      public:
        RuleContext(RsComm* session, const std::string& instance);
        irods::callback callback() { return irods::callback{manager_}; }
        ruleExecInfo_t& info() { return *info_; }

      private:
        std::unique_ptr<ruleExecInfo_t> info_;
        irods::rule_engine_context_manager<irods::default_re_ctx, ruleExecInfo_t*, irods::AUDIT_RULE> manager_;
    };
} // namespace zone

#endif // ZONE_PLUGINS_HPP
