// SPDX-License-Identifier: BSD-3-Clause
// Loads the real library as the server does and calls its operations in a loop, with as little as possible around
// them: what is measured is the plugin. Allocations are counted by replacing malloc's entry points, calls of the
// server by counting in the functions this program exports.
//
//   harness LIBRARY CONFIG_DIRECTORY CASE COUNT
//
// prints one line of JSON: case, calls, nanoseconds for each, allocations, server calls.
#include "irods_uninstalled.hpp"

#include <irods/dataObjInpOut.h>
#include <irods/irods_default_paths.hpp>
#include <irods/irods_plugin_context.hpp>
#include <irods/irods_re_plugin.hpp>
#include <irods/irods_re_ruleexistshelper.hpp>
#include <irods/modAVUMetadata.h>
#include <irods/rcMisc.h>
#include <irods/rodsErrorTable.h>
#include <irods/rodsKeyWdDef.h>
#include <irods/rsGenQuery.hpp>
#include <irods/rsModAVUMetadata.hpp>
#include <irods/rs_atomic_apply_metadata_operations.hpp>
#include <irods/rs_genquery2.hpp>
#include <irods/rs_get_file_descriptor_info.hpp>

#include <dlfcn.h>

#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

static long allocations = 0;
static long server_calls = 0;
static std::string config_directory;

// ---- allocations
extern "C" void* __libc_malloc(std::size_t);
extern "C" void* __libc_calloc(std::size_t, std::size_t);
extern "C" void* __libc_realloc(void*, std::size_t);
extern "C" void* malloc(std::size_t n)
{
    ++allocations;
    return __libc_malloc(n);
}
extern "C" void* calloc(std::size_t n, std::size_t size)
{
    ++allocations;
    return __libc_calloc(n, size);
}
extern "C" void* realloc(void* p, std::size_t n)
{
    ++allocations;
    return __libc_realloc(p, n);
}

// ---- the server's side
namespace irods
{
    exception::~exception() {}
    const char* exception::what() const noexcept { return ""; }
    const char* exception::client_display_what() const noexcept { return ""; }

    error::error()
        : status_{false}
        , code_{0}
    {
    }
    error::error(bool status, long long code, std::string message, std::string, int, std::string)
        : status_{status}
        , code_{code}
        , message_{std::move(message)}
    {
    }
    error::error(const error& other)
        : status_{other.status_}
        , code_{other.code_}
        , message_{other.message_}
    {
    }
    error::~error() {}

    boost::filesystem::path get_irods_config_directory() { return config_directory; }

    error default_microservice_manager<default_ms_ctx>::exec_microservice_adapter(std::string,
                                                                                  default_ms_ctx,
                                                                                  std::list<boost::any>&)
    {
        return ERROR(SYS_NOT_SUPPORTED, "");
    }

    struct irods_abi_rule_engine
    {
        template <typename F>
        static F& operation(pluggable_rule_engine<default_re_ctx>& engine, const char* name)
        {
            return *boost::any_cast<F>(&engine.operations_[name]);
        }
    };
} // namespace irods

struct irods_abi_rule_exists_helper
{
    static RuleExistsHelper* make() { return new RuleExistsHelper; }
};
RuleExistsHelper* RuleExistsHelper::Instance()
{
    static RuleExistsHelper* const instance = irods_abi_rule_exists_helper::make();
    return instance;
}
void RuleExistsHelper::registerRuleRegex(const std::string&) {}

int rs_genquery2(RsComm*, Genquery2Input* input, char** answer)
{
    ++server_calls;
    const bool ids = std::strstr(input->query_string, "select COLL_ID") != nullptr;
    *answer = strdup(ids ? "[[\"100\"]]" : "[]");
    return 0;
}
int rsGenQuery(RsComm*, GenQueryInp*, GenQueryOut**)
{
    ++server_calls;
    return CAT_NO_ROWS_FOUND;
}
int rsModAVUMetadata(RsComm*, modAVUMetadataInp_t*)
{
    ++server_calls;
    return 0;
}
extern "C" int rs_atomic_apply_metadata_operations(RsComm*, const char*, char**)
{
    ++server_calls;
    return 0;
}
extern "C" int rs_get_file_descriptor_info(RsComm*, const char*, char**)
{
    ++server_calls;
    return -1;
}
int _delayExec(const char*, const char*, const char*, ruleExecInfo_t*)
{
    ++server_calls;
    return 0;
}
extern "C" char* getValByKey(const keyValPair_t*, const char*)
{
    return nullptr;
}
extern "C" int addKeyVal(keyValPair_t*, const char*, const char*)
{
    return 0;
}
extern "C" int clearKeyVal(keyValPair_t*)
{
    return 0;
}
extern "C" int freeGenQueryOut(genQueryOut_t**)
{
    return 0;
}
extern "C" int addMsParamToArray(msParamArray_t*, const char*, const char*, void*, bytesBuf_t*, int)
{
    return 0;
}
extern "C" int addRErrorMsg(struct ErrorStack*, const int, const char*)
{
    return 0;
}
extern "C" void rodsLog(int level, const char* format, ...)
{
    if (level <= LOG_ERROR) {
        va_list arguments;
        va_start(arguments, format);
        std::vfprintf(stderr, format, arguments);
        va_end(arguments);
        std::fputc('\n', stderr);
    }
}

// ---- the cases
using context_t = irods::default_re_ctx;
using engine_t = irods::pluggable_rule_engine<context_t>;
using life_t = std::function<irods::error(context_t&, const std::string&)>;
using exists_t = std::function<irods::error(context_t&, const std::string&, bool&)>;
using exec_t =
    std::function<irods::error(context_t&, const std::string&, std::list<boost::any>&, irods::callback)>;
using manager_t = irods::rule_engine_context_manager<irods::unit, ruleExecInfo_t*, irods::AUDIT_RULE>;

int main(int argc, char** argv)
{
    if (argc != 5) {
        std::fprintf(stderr, "usage: harness LIBRARY CONFIG_DIRECTORY CASE COUNT\n");
        return 2;
    }
    config_directory = argv[2];
    const std::string which = argv[3];
    const long count = std::atol(argv[4]);
    void* library = dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL);
    if (!library) {
        std::fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    const auto factory =
        reinterpret_cast<engine_t* (*) (const std::string&, const std::string&)>(dlsym(library, "plugin_factory"));
    using reach = irods::irods_abi_rule_engine;
    context_t context;
    const std::string instance = "omero-instance";
    engine_t* engine = factory(instance, "");
    auto& setup = reach::operation<life_t>(*engine, "setup");
    if (which != "setup") {
        setup(context, instance);
        reach::operation<life_t>(*engine, "start")(context, instance);
    }
    auto& exists = reach::operation<exists_t>(*engine, "rule_exists");
    auto& exec = reach::operation<exec_t>(*engine, "exec_rule");

    auto* comm = static_cast<RsComm*>(std::calloc(1, sizeof(RsComm)));
    std::strcpy(comm->clientUser.userName, "alice");
    std::strcpy(comm->clientUser.rodsZone, "tempZone");
    auto* rei = static_cast<ruleExecInfo_t*>(std::calloc(1, sizeof(ruleExecInfo_t)));
    rei->rsComm = comm;
    manager_t manager{nullptr, rei};
    auto* object = static_cast<DataObjInp*>(std::calloc(1, sizeof(DataObjInp)));
    const bool outside = which == "event_outside";
    std::strcpy(object->objPath,
                outside ? "/tempZone/home/alice/documents/report.pdf" : "/tempZone/home/alice/microscopy/run1/a.tif");
    irods::plugin_property_map properties;
    std::list<boost::any> arguments{std::string{"api"}, irods::plugin_context{comm, properties},
                                    static_cast<dataObjInp_t*>(object)};
    const std::string put = "pep_api_data_obj_put_post";
    const std::string other = "pep_api_data_obj_get_post";
    const auto& asked = which == "rule_exists_hit" ? put : other;
    const irods::callback callback{manager};
    if (which == "event_marked") {
        exec(context, put, arguments, callback); // sets the mark
    }

    bool found = false;
    long wrong = 0;
    allocations = server_calls = 0;
    const auto start = std::chrono::steady_clock::now();
    if (which == "rule_exists_hit" || which == "rule_exists_miss") {
        for (long i = 0; i < count; ++i) {
            exists(context, asked, found);
            wrong += found != (which == "rule_exists_hit");
        }
    }
    else if (which == "event_outside" || which == "event_marked") {
        for (long i = 0; i < count; ++i) {
            wrong += exec(context, put, arguments, callback).code() != RULE_ENGINE_CONTINUE;
        }
    }
    else if (which == "setup") {
        for (long i = 0; i < count; ++i) {
            engine_t* fresh = factory(instance, "");
            reach::operation<life_t>(*fresh, "setup")(context, instance);
            wrong += !reach::operation<exists_t>(*fresh, "rule_exists")(context, put, found).ok() || !found;
            delete fresh;
        }
    }
    else {
        std::fprintf(stderr, "no such case: %s\n", which.c_str());
        return 2;
    }
    const double nanoseconds =
        std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
    std::printf("{\"case\": \"%s\", \"calls\": %ld, \"ns\": %.2f, \"allocations\": %ld, \"server_calls\": %ld}\n",
                which.c_str(), count, nanoseconds / static_cast<double>(count), allocations, server_calls);
    return wrong ? 1 : 0;
}
