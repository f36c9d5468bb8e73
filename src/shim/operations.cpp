// SPDX-License-Identifier: BSD-3-Clause
// The nine operations of a rule engine plugin: arguments are unpacked by exact type and handed to the core.
// No policy and no state. Neither an exception nor a panic passes from here to the server.
#include "shim.hpp"

#include <irods/bulkDataObjPut.h>
#include <irods/dataObjCopy.h>
#include <irods/dataObjInpOut.h>
#include <irods/irods_default_paths.hpp>
#include <irods/irods_error.hpp>
#include <irods/irods_plugin_context.hpp>
#include <irods/irods_re_plugin.hpp>
#include <irods/irods_re_ruleexistshelper.hpp>
#include <irods/irods_version.h>
#include <irods/modAVUMetadata.h>
#include <irods/msParam.h>
#include <irods/rcMisc.h>
#include <irods/rodsErrorTable.h>
#include <irods/rodsKeyWdDef.h>
#include <irods/rodsLog.h>
#include <irods/structFileExtAndReg.h>

#include <boost/any.hpp>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace
{
    using omero_shim::text;

    // An error object without a message: the constructors that keep a history allocate, and rule_exists is
    // called several times for every operation of the server.
    irods::error outcome(int64_t code)
    {
        irods::error result;
        result.status(code >= 0);
        result.code(code);
        return result;
    }

    // A failure the server reports to the client.
    irods::error refusal(int64_t code)
    {
        return ERROR(code, "omero: refused by the OMERO rule engine plugin");
    }

    // Runs one operation; what it throws is logged and becomes `otherwise`.
    template <typename Operation>
    irods::error guarded(int64_t otherwise, Operation&& operation) noexcept
    {
        try {
            return operation();
        }
        catch (const std::exception& e) {
            omero_shim::thrown(e.what());
        }
        catch (...) {
            omero_shim::thrown("unknown exception");
        }
        return outcome(otherwise);
    }

    // What an operation ends with. That it is refused stands, also where the words for it cannot be put together.
    irods::error ended(int64_t code) noexcept
    {
        return code < 0 ? guarded(code, [code] { return refusal(code); }) : outcome(code);
    }

    omero_session* read_session(irods::callback& effect_handler)
    {
        ruleExecInfo_t* rei = nullptr;
        const auto result = effect_handler(std::string{"unsafe_ms_ctx"}, &rei);
        return result.ok() ? omero_shim::session(rei) : nullptr;
    }

    // The session of a call; null where the server does not give it. The core has an answer to that.
    omero_session* session_of(irods::callback& effect_handler) noexcept
    {
        return omero_shim::callback<read_session>::call(effect_handler);
    }

    // Reads the operation's first argument: what follows the instance name and the plugin context. Of a kind that is not
    // known it is OMERO_ARGUMENT_NONE.
    omero_argument read_argument(const std::list<boost::any>& arguments)
    {
        omero_argument out{};
        if (arguments.size() < 3) {
            return out;
        }
        if (boost::any_cast<std::string>(&*std::next(arguments.begin()))) {
            // A static PEP: neither an instance name nor a context, but the operation's words as they are.
            out.kind = OMERO_ARGUMENT_AVU;
            std::size_t i = 0;
            for (auto word = arguments.begin(); word != arguments.end() && i < std::size(out.text); ++word, ++i) {
                const auto* p = boost::any_cast<std::string>(&*word);
                if (!p) {
                    return omero_argument{};
                }
                out.text[i] = {p->data(), p->size()};
            }
            return out;
        }
        const boost::any& value = *std::next(arguments.begin(), 2);
        if (auto* p = boost::any_cast<dataObjInp_t*>(&value); p && *p) {
            out.kind = OMERO_ARGUMENT_DATA_OBJECT;
            out.text[0] = text((*p)->objPath);
            out.number = (*p)->openFlags;
            out.operation = (*p)->oprType;
            out.condition = &(*p)->condInput;
        }
        else if (auto* p = boost::any_cast<openedDataObjInp_t*>(&value); p && *p) {
            out.kind = OMERO_ARGUMENT_DESCRIPTOR;
            out.number = (*p)->l1descInx;
        }
        else if (auto* p = boost::any_cast<bytesBuf_t*>(&value); p && *p) {
            out.kind = OMERO_ARGUMENT_BYTES;
            if ((*p)->buf && (*p)->len > 0) {
                out.text[0] = {static_cast<const char*>((*p)->buf), static_cast<std::size_t>((*p)->len)};
            }
        }
        else if (auto* p = boost::any_cast<dataObjCopyInp_t*>(&value); p && *p) {
            out.kind = OMERO_ARGUMENT_COPY;
            out.text[0] = text((*p)->srcDataObjInp.objPath);
            out.text[1] = text((*p)->destDataObjInp.objPath);
            out.condition = &(*p)->destDataObjInp.condInput;
            out.source_condition = &(*p)->srcDataObjInp.condInput;
        }
        else if (auto* p = boost::any_cast<collInp_t*>(&value); p && *p) {
            out.kind = OMERO_ARGUMENT_COLLECTION;
            out.text[0] = text((*p)->collName);
            out.operation = (*p)->oprType;
            out.condition = &(*p)->condInput;
        }
        else if (auto* p = boost::any_cast<modAVUMetadataInp_t*>(&value); p && *p) {
            out.kind = OMERO_ARGUMENT_AVU;
            const char* const words[] = {(*p)->arg0, (*p)->arg1, (*p)->arg2, (*p)->arg3, (*p)->arg4,
                                         (*p)->arg5, (*p)->arg6, (*p)->arg7, (*p)->arg8};
            for (std::size_t i = 0; i < std::size(words); ++i) {
                out.text[i] = text(words[i]);
            }
        }
        else if (auto* p = boost::any_cast<bulkOprInp_t*>(&value); p && *p) {
            out.kind = OMERO_ARGUMENT_BULK;
            out.text[0] = text((*p)->objPath);
            out.condition = &(*p)->condInput;
        }
        else if (auto* p = boost::any_cast<structFileExtAndRegInp_t*>(&value); p && *p) {
            out.kind = OMERO_ARGUMENT_STRUCT_FILE;
            out.text[0] = text((*p)->objPath);
            out.text[1] = text((*p)->collection);
            out.condition = &(*p)->condInput;
        }
        return out;
    }

    // Appends to the parameter an irule client prints (ruleExecOut), which is made where it is not there yet.
    void print(void* parameters, omero_text line)
    {
        auto* array = static_cast<msParamArray_t*>(parameters);
        if (!array || line.size == 0) {
            return;
        }
        execCmdOut_t* out = nullptr;
        for (int i = 0; i < array->len; ++i) {
            auto* parameter = array->msParam[i];
            if (parameter && parameter->label && std::strcmp(parameter->label, "ruleExecOut") == 0) {
                if (!parameter->inOutStruct) {
                    parameter->inOutStruct = std::calloc(1, sizeof(execCmdOut_t));
                    std::free(parameter->type);
                    parameter->type = strdup(ExecCmdOut_MS_T);
                }
                else if (!parameter->type || std::strcmp(parameter->type, ExecCmdOut_MS_T) != 0) {
                    return;
                }
                out = static_cast<execCmdOut_t*>(parameter->inOutStruct);
            }
        }
        if (!out) {
            out = static_cast<execCmdOut_t*>(std::calloc(1, sizeof(execCmdOut_t)));
            if (!out) {
                return;
            }
            addMsParamToArray(array, "ruleExecOut", ExecCmdOut_MS_T, out, nullptr, 0);
        }
        auto& buffer = out->stdoutBuf;
        const auto used = buffer.buf ? std::strlen(static_cast<const char*>(buffer.buf)) : 0;
        auto* grown = static_cast<char*>(std::realloc(buffer.buf, used + line.size + 1));
        if (!grown) {
            return;
        }
        std::memcpy(grown + used, line.data, line.size);
        grown[used + line.size] = '\0';
        buffer.buf = grown;
        buffer.len = static_cast<int>(used + line.size + 1);
    }

    using context_t = irods::default_re_ctx;
    using plugin_ptr = std::shared_ptr<omero_plugin>;

    irods::error setup(const plugin_ptr& plugin)
    {
        return guarded(0, [&] {
            const std::string directory = irods::get_irods_config_directory().string();
            omero_plugin_setup(plugin.get(), text(directory));
            const auto regex = omero_plugin_regex(plugin.get());
            if (regex.size > 0) {
                RuleExistsHelper::Instance()->registerRuleRegex(omero_shim::str(regex));
            }
            return outcome(0);
        });
    }

    irods::error start(const plugin_ptr& plugin)
    {
        // 4.3 calls no setup; there each agent sets itself up.
        if constexpr (IRODS_VERSION_MAJOR < 5) {
            setup(plugin);
        }
        omero_plugin_start(plugin.get());
        return outcome(0);
    }

    // Whether the server is the one whose layouts we know. Says so in its log where it is not: rodsLog takes plain
    // C values in every version.
    bool is_our_server()
    {
        const auto version = omero_shim::server_version();
        if (version.empty() || version == omero_shim::built_for()) {
            return true;
        }
        rodsLog(LOG_ERROR,
                "omero: act=load failed=\"this plugin was built for iRODS %s and the server is iRODS %s: install the "
                "package that was built for it\"",
                omero_shim::built_for(),
                version.c_str());
        return false;
    }

    // What a function gives its arguments, kept apart until the call is over: the core still reads them.
    struct assignments
    {
        std::vector<std::string*> texts;
        std::vector<std::pair<std::string*, std::string>> assigned;
    };

    void assign(void* context, std::size_t i, omero_text value)
    {
        auto& to = *static_cast<assignments*>(context);
        if (i < to.texts.size() && to.texts[i]) {
            to.assigned.emplace_back(to.texts[i], omero_shim::str(value));
        }
    }

    // Calls a function with the texts a policy passed. What is no text is the empty one: the core asks for what it needs.
    irods::error call_function(const plugin_ptr& plugin,
                               const std::string& name,
                               std::list<boost::any>& arguments,
                               omero_session* session)
    {
        std::vector<std::string*> texts;
        std::vector<omero_text> views;
        for (auto& argument : arguments) {
            auto* p = boost::any_cast<std::string*>(&argument);
            texts.push_back(p ? *p : nullptr);
            views.push_back(texts.back() ? text(*texts.back()) : omero_text{});
        }
        assignments out{texts, {}};
        const auto code = omero_plugin_function(plugin.get(),
                                                session,
                                                text(name),
                                                views.data(),
                                                views.size(),
                                                omero_shim::callback<assign>::call,
                                                &out);
        for (auto& [to, value] : out.assigned) {
            *to = std::move(value);
        }
        return ended(code);
    }

    irods::error exec_rule(const plugin_ptr& plugin,
                           const std::string& rule,
                           std::list<boost::any>& arguments,
                           irods::callback& effect_handler) noexcept
    {
        auto* const session = session_of(effect_handler);
        if (omero_plugin_is_function(plugin.get(), text(rule))) {
            return guarded(RULE_ENGINE_CONTINUE, [&] { return call_function(plugin, rule, arguments, session); });
        }
        // Whatever cannot be had, the core is asked: it knows which operations are refused then.
        const auto argument = omero_shim::callback<read_argument>::call(arguments);
        return ended(omero_plugin_pep(plugin.get(), session, text(rule), &argument));
    }

    // Whether a rule text is for an instance by name. irule -r leaves the name among the conditions of its call, a job of
    // the delay queue in its context.
    bool is_addressed(omero_session* session, const std::string& instance)
    {
        const auto* rei = session ? omero_shim::context(session) : nullptr;
        if (!rei) {
            return false;
        }
        const char* named = rei->condInputData ? getValByKey(rei->condInputData, INSTANCE_NAME_KW) : nullptr;
        return instance == (named ? named : rei->pluginInstanceName);
    }

    // `is_job` says whether the text comes from the delay queue: only the delay server calls exec_rule_expression.
    irods::error exec_text(const plugin_ptr& plugin,
                           const std::string& instance,
                           bool is_job,
                           const std::string& rule_text,
                           msParamArray_t* parameters,
                           irods::callback& effect_handler)
    {
        return guarded(RULE_ENGINE_CONTINUE, [&] {
            auto* session = session_of(effect_handler);
            return ended(omero_plugin_rule_text(plugin.get(),
                                                session,
                                                text(rule_text),
                                                is_addressed(session, instance),
                                                is_job,
                                                omero_shim::callback<print>::call,
                                                parameters));
        });
    }
} // namespace

// Makes the plugin. The C symbol the server looks up, plugin_factory, is defined in src/ffi/factory.rs, because
// a Rust cdylib exports none but Rust's own functions. The result is the server's to delete.
extern "C" void* omero_shim_factory(const void* instance_name, const void* context) noexcept
{
    try {
        if (!is_our_server()) {
            return nullptr;
        }
        const auto& instance = *static_cast<const std::string*>(instance_name);
        const auto& unused = *static_cast<const std::string*>(context);
        const plugin_ptr plugin{omero_plugin_new(&omero_shim::host(), text(instance)), omero_plugin_free};
        if (!plugin) {
            return nullptr; // the core has said why
        }
        auto engine = std::make_unique<irods::pluggable_rule_engine<context_t>>(instance, unused);

        using life = std::function<irods::error(context_t&, const std::string&)>;
        engine->add_operation("setup", life{[plugin](context_t&, const std::string&) { return setup(plugin); }});
        engine->add_operation("teardown", life{[](context_t&, const std::string&) { return outcome(0); }});
        engine->add_operation("start", life{[plugin](context_t&, const std::string&) { return start(plugin); }});
        engine->add_operation("stop", life{[plugin](context_t&, const std::string&) {
            omero_plugin_stop(plugin.get());
            return outcome(0);
        }});
        engine->add_operation(
            "rule_exists",
            std::function<irods::error(context_t&, const std::string&, bool&)>{
                [p = plugin.get(), plugin](context_t&, const std::string& rule, bool& found) {
                    found = omero_plugin_rule_exists(p, text(rule));
                    return outcome(0);
                }});
        engine->add_operation(
            "list_rules",
            std::function<irods::error(context_t&, std::vector<std::string>&)>{
                [plugin](context_t&, std::vector<std::string>& rules) {
                    return guarded(0, [&] {
                        for (std::size_t i = 0;; ++i) {
                            const auto name = omero_plugin_rule_name(plugin.get(), i);
                            if (name.size == 0) {
                                return outcome(0);
                            }
                            rules.push_back(omero_shim::str(name));
                        }
                    });
                }});
        engine->add_operation(
            "exec_rule",
            std::function<irods::error(context_t&, const std::string&, std::list<boost::any>&, irods::callback)>{
                [plugin](context_t&, const std::string& rule, std::list<boost::any>& arguments,
                         irods::callback effect_handler) { return exec_rule(plugin, rule, arguments, effect_handler); }});
        engine->add_operation(
            "exec_rule_text",
            std::function<irods::error(context_t&, const std::string&, msParamArray_t*, const std::string&,
                                       irods::callback)>{
                [plugin, instance](context_t&, const std::string& rule_text, msParamArray_t* parameters,
                                   const std::string&, irods::callback effect_handler) {
                    return exec_text(plugin, instance, false, rule_text, parameters, effect_handler);
                }});
        engine->add_operation(
            "exec_rule_expression",
            std::function<irods::error(context_t&, const std::string&, msParamArray_t*, irods::callback)>{
                [plugin, instance](context_t&, const std::string& rule_text, msParamArray_t* parameters,
                                   irods::callback effect_handler) {
                    return exec_text(plugin, instance, true, rule_text, parameters, effect_handler);
                }});
        return engine.release();
    }
    catch (const std::exception& e) {
        rodsLog(LOG_ERROR, "omero: act=load failed=\"%s\"", e.what());
    }
    catch (...) {
        rodsLog(LOG_ERROR, "omero: act=load failed=\"unknown exception\"");
    }
    return nullptr;
}
