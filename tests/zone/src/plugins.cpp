// SPDX-License-Identifier: BSD-3-Clause

#include "plugins.hpp"

#include "support.hpp"

#include "irods/irods_log.hpp"
#include "irods/irods_re_ruleexistshelper.hpp"

#include <dlfcn.h>

#include <cstring>
#include <list>
#include <regex>
#include <unordered_map>

namespace irods
{
    // Reaches into an engine for its table, as the server's own class does by being that class.
    struct irods_abi_rule_engine
    {
        template <typename Signature>
        static std::function<Signature> operation(pluggable_rule_engine<default_re_ctx>& engine, const char* name,
                                                  const std::string& instance)
        {
            try {
                return boost::any_cast<std::function<Signature>>(engine.operations_[name]);
            }
            catch (const boost::bad_any_cast&) {
                throw zone::Failure{INVALID_ANY_CAST,
                                    "instance [" + instance + "] has no operation [" + name + "] of the right type"};
            }
        }
    };
} // namespace irods

// The one instance of the filter.
struct irods_abi_rule_exists_helper
{
    static RuleExistsHelper* instance()
    {
        static RuleExistsHelper helper;
        return &helper;
    }
    static std::vector<std::pair<std::string, std::regex>>& regexes()
    {
        static std::vector<std::pair<std::string, std::regex>> all;
        return all;
    }
    static std::unordered_map<std::string, bool>& answers()
    {
        static std::unordered_map<std::string, bool> all;
        return all;
    }
};

RuleExistsHelper* RuleExistsHelper::Instance()
{
    return irods_abi_rule_exists_helper::instance();
}

void RuleExistsHelper::registerRuleRegex(const std::string& regex)
{
    irods_abi_rule_exists_helper::regexes().emplace_back(regex, std::regex{regex});
    irods_abi_rule_exists_helper::answers().clear();
}

namespace zone
{
    namespace
    {
        using RuleEngine = irods::pluggable_rule_engine<irods::default_re_ctx>;
        using Context = irods::default_re_ctx;
        using irods::irods_abi_rule_engine;

        bool goes_on(long long code) { return code == RULE_ENGINE_CONTINUE || code == SYS_NOT_SUPPORTED; }

        // What the server's rule engine manager looks like to code compiled against the server's own headers:
        // two references around an empty list of engines.
        struct ManagerLayout
        {
            const void* microservices = this;
            std::list<int> engines;
            const void* plugins = this;
        };
        static_assert(sizeof(ManagerLayout) == sizeof(irods::rule_engine_manager<Context, ruleExecInfo_t*>));

        irods::rule_engine_manager<Context, ruleExecInfo_t*>* manager_address()
        {
            static ManagerLayout layout;
            return reinterpret_cast<irods::rule_engine_manager<Context, ruleExecInfo_t*>*>(&layout);
        }
    } // namespace

    bool is_offered(const std::string& pep_name)
    {
        auto& answers = irods_abi_rule_exists_helper::answers();
        const auto known = answers.find(pep_name);
        if (known != answers.end()) {
            return known->second;
        }
        bool offered = false;
        for (const auto& [text, regex] : irods_abi_rule_exists_helper::regexes()) {
            offered = offered || std::regex_match(pep_name, regex);
        }
        answers.emplace(pep_name, offered);
        return offered;
    }

    std::vector<std::string> registered_regexes()
    {
        std::vector<std::string> all;
        for (const auto& [text, regex] : irods_abi_rule_exists_helper::regexes()) {
            all.push_back(text);
        }
        return all;
    }

    void PluginHost::load(const Json& server_config, const std::string& plugin_directory)
    {
        const auto* configuration = server_config.find("plugin_configuration");
        const auto* entries = configuration != nullptr ? configuration->find("rule_engines") : nullptr;
        if (entries == nullptr) {
            return;
        }
        for (const auto& entry : entries->elements()) {
            const auto* instance = entry.find("instance_name");
            const auto* plugin = entry.find("plugin_name");
            if (instance == nullptr || plugin == nullptr) {
                throw Failure{CONFIGURATION_ERROR, "a rule engine needs instance_name and plugin_name"};
            }
            const std::string path = plugin_directory + "/lib" + plugin->as_string() + ".so";
            void* library = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
            if (library == nullptr) {
                throw Failure{PLUGIN_ERROR, ::dlerror()};
            }
            void* symbol = ::dlsym(library, "plugin_factory");
            if (symbol == nullptr) {
                throw Failure{PLUGIN_ERROR, ::dlerror()};
            }
            const auto factory = reinterpret_cast<RuleEngine* (*)(const std::string&, const std::string&)>(symbol);
            RuleEngine* engine = factory(instance->as_string(), "empty_context");
            if (engine == nullptr) {
                throw Failure{PLUGIN_ERROR, "[" + path + "] made no rule engine"};
            }
            Loaded loaded;
            loaded.instance = instance->as_string();
            loaded.engine = engine;
            engines_.push_back(std::move(loaded));
        }
    }

    namespace
    {
        using Life = irods::error(Context&, const std::string&);
    }

    // The server drops what these four answer, except to its log.
    void PluginHost::setup()
    {
        for (auto& e : engines_) {
            irods::log(irods_abi_rule_engine::operation<Life>(*e.engine, "setup", e.instance)(e.context, e.instance));
        }
    }

    void PluginHost::teardown()
    {
        for (auto& e : engines_) {
            irods::log(irods_abi_rule_engine::operation<Life>(*e.engine, "teardown", e.instance)(e.context, e.instance));
            delete e.engine;
        }
        engines_.clear();
    }

    void PluginHost::start()
    {
        for (auto& e : engines_) {
            irods::log(irods_abi_rule_engine::operation<Life>(*e.engine, "start", e.instance)(e.context, e.instance));
        }
    }

    void PluginHost::stop()
    {
        for (auto& e : engines_) {
            irods::log(irods_abi_rule_engine::operation<Life>(*e.engine, "stop", e.instance)(e.context, e.instance));
        }
    }

    bool PluginHost::rule_exists(const std::string& rule)
    {
        for (auto& e : engines_) {
            bool exists = false;
            const auto error = irods_abi_rule_engine::operation<irods::error(Context&, const std::string&, bool&)>(
                *e.engine, "rule_exists", e.instance)(e.context, rule, exists);
            if (!error.ok()) {
                return false;
            }
            if (exists) {
                return true;
            }
        }
        return false;
    }

    irods::error PluginHost::exec_rule(const std::string& rule, const std::function<std::list<boost::any>()>& arguments,
                                       irods::callback callback,
                                       const std::function<void(const std::string&, long long)>& observe)
    {
        bool found = false;
        long long last = 0;
        for (auto& e : engines_) {
            bool exists = false;
            const auto asked = irods_abi_rule_engine::operation<irods::error(Context&, const std::string&, bool&)>(
                *e.engine, "rule_exists", e.instance)(e.context, rule, exists);
            if (!asked.ok()) {
                return asked;
            }
            if (!exists) {
                continue;
            }
            auto list = arguments();
            const auto result =
                irods_abi_rule_engine::operation<irods::error(Context&, const std::string&, std::list<boost::any>&,
                                                              irods::callback)>(*e.engine, "exec_rule", e.instance)(
                    e.context, rule, list, callback);
            if (observe) {
                observe(e.instance, result.code());
            }
            if (!goes_on(result.code())) {
                return result;
            }
            found = true;
            last = result.code();
        }
        if (found) {
            return CODE(last);
        }
        // What nobody has is taken for a microservice, and there are none.
        return ERROR(NO_MICROSERVICE_FOUND_ERR, "no rule and no microservice [" + rule + "]");
    }

    irods::error PluginHost::exec_rule_text(const std::string& instance, const std::string& text,
                                            msParamArray_t* parameters, const std::string& out_description,
                                            irods::callback callback)
    {
        using Operation =
            irods::error(Context&, const std::string&, msParamArray_t*, const std::string&, irods::callback);
        for (auto& e : engines_) {
            if (!instance.empty() && instance != e.instance) {
                continue;
            }
            auto result = irods_abi_rule_engine::operation<Operation>(*e.engine, "exec_rule_text", e.instance)(
                e.context, text, parameters, out_description, callback);
            if (!instance.empty()) {
                return result;
            }
        }
        if (instance.empty()) {
            return SUCCESS();
        }
        return ERROR(SYS_INVALID_INPUT_PARAM, "instance not found [" + instance + "]");
    }

    irods::error PluginHost::exec_rule_expression(const std::string& instance, const std::string& text,
                                                  msParamArray_t* parameters, irods::callback callback)
    {
        using Operation = irods::error(Context&, const std::string&, msParamArray_t*, irods::callback);
        for (auto& e : engines_) {
            if (!instance.empty() && instance != e.instance) {
                continue;
            }
            auto result = irods_abi_rule_engine::operation<Operation>(*e.engine, "exec_rule_expression", e.instance)(
                e.context, text, parameters, callback);
            if (!instance.empty()) {
                return result;
            }
        }
        if (instance.empty()) {
            return SUCCESS();
        }
        return ERROR(SYS_INVALID_INPUT_PARAM, "instance not found [" + instance + "]");
    }

    std::vector<std::string> PluginHost::list_rules()
    {
        std::vector<std::string> rules;
        for (auto& e : engines_) {
            irods::log(irods_abi_rule_engine::operation<irods::error(Context&, std::vector<std::string>&)>(
                *e.engine, "list_rules", e.instance)(e.context, rules));
        }
        return rules;
    }

    RuleContext::RuleContext(RsComm* session, const std::string& instance)
        : info_{std::make_unique<ruleExecInfo_t>()}
        , manager_{manager_address(), info_.get()}
    {
        info_->rsComm = session;
        if (session != nullptr) {
            info_->uoic = &session->clientUser;
            info_->uoip = &session->proxyUser;
        }
        copy_to(info_->pluginInstanceName, instance);
    }
} // namespace zone
