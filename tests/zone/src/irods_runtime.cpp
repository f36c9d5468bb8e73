// SPDX-License-Identifier: BSD-3-Clause
// The parts of libirods_common that plugins are linked against: results, exceptions, key-value lists, logging.
// Their symbols are exported from the executable under the server's mangled names.

#include "session.hpp"
#include "support.hpp"

#include "irods/irods_default_paths.hpp"
#include "irods/irods_error.hpp"
#include "irods/irods_exception.hpp"
#include "irods/irods_log.hpp"
#include "irods/irods_re_plugin.hpp"
#include "irods/rcMisc.h"
#include "irods/rodsError.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

// ---- exceptions and results -----------------------------------------------------------------------------------

irods::exception::exception(const std::int64_t code, const std::string& message, const std::string& file_name,
                            const std::uint32_t line_number, const std::string& function_name)
    : code_{code}
    , message_stack_{message}
    , line_number_{line_number}
    , function_name_{function_name}
    , file_name_{file_name}
{
}

irods::exception::exception(const exception&) = default;

irods::exception::~exception() noexcept {}

const char* irods::exception::what() const noexcept
{
    what_ = message_stack_.empty() ? "" : message_stack_.front();
    return what_.c_str();
}

const char* irods::exception::client_display_what() const noexcept
{
    return what();
}

namespace
{
    std::string history_line(bool status, long long code, const std::string& message, const std::string& file, int line,
                             const std::string& function)
    {
        return "[" + std::string{status ? "+" : "-"} + "]\t" + file + ":" + std::to_string(line) + ":" + function +
               " :  status [" + std::to_string(code) + "]  -- message [" + message + "]";
    }
} // namespace

irods::error::error()
    : status_{false}
    , code_{0}
{
}

irods::error::error(bool status, long long code, std::string message, std::string file, int line, std::string function)
    : status_{status}
    , code_{code}
    , message_{std::move(message)}
{
    result_stack_.push_back(history_line(status, code, message_, file, line, function));
}

irods::error::error(bool status, long long code, boost::format message, std::string file, int line, std::string function)
    : error{status, code, message.str(), std::move(file), line, std::move(function)}
{
}

irods::error::error(bool status, long long code, std::string message, std::string file, int line, std::string function,
                    const error& previous)
    : error{previous}
{
    status_ = status;
    code_ = code;
    message_ = std::move(message);
    result_stack_.push_back(history_line(status, code, message_, file, line, function));
}

irods::error::error(std::string message, std::string file, int line, std::string function, const error& previous)
    : error{previous.status_, previous.code_, std::move(message), std::move(file), line, std::move(function), previous}
{
}

irods::error::error(const error& other)
    : status_{other.status_}
    , code_{other.code_}
    , message_{other.message_}
    , result_stack_{other.result_stack_}
    , exception_{other.exception_}
{
}

irods::error::error(const exception& thrown)
    : status_{thrown.code() >= 0}
    , code_{thrown.code()}
    , message_{thrown.what()}
    , exception_{thrown}
{
}

irods::error::~error() {}

irods::error& irods::error::operator=(const error& other)
{
    status_ = other.status_;
    code_ = other.code_;
    message_ = other.message_;
    result_stack_ = other.result_stack_;
    exception_ = other.exception_;
    return *this;
}

std::string irods::error::result() const
{
    std::string text;
    for (auto line = result_stack_.rbegin(); line != result_stack_.rend(); ++line) {
        text += *line + "\n";
    }
    return text;
}

// ---- logging --------------------------------------------------------------------------------------------------

namespace
{
    const char* level_name(int level)
    {
        switch (level) {
            case LOG_SYS_FATAL:
                return "fatal";
            case LOG_SYS_WARNING:
                return "sys_warning";
            case LOG_ERROR:
                return "error";
            case LOG_WARNING:
                return "warning";
            case LOG_NOTICE:
                return "notice";
            default:
                return "debug";
        }
    }
} // namespace

void irods::log(const error& result)
{
    if (!result.ok()) {
        zone::log_line("error", result.result());
    }
}

void irods::log(const irods::exception& thrown)
{
    zone::log_line("error", thrown.what());
}

void irods::log(int level, const std::string& text)
{
    zone::log_line(level_name(level), text);
}

void irods::log(int level, const char* text)
{
    zone::log_line(level_name(level), text);
}

boost::filesystem::path irods::get_irods_config_directory()
{
    const auto* server = zone::current_server();
    return server != nullptr ? server->config_directory : std::string{};
}

irods::unpack::unpack(std::list<boost::any>& l)
    : l_{l}
{
}

irods::error irods::default_microservice_manager<irods::default_ms_ctx>::exec_microservice_adapter(
    std::string name, irods::default_ms_ctx context, std::list<boost::any>& arguments)
{
    if (name == "unsafe_ms_ctx" && !arguments.empty()) {
        if (auto* out = boost::any_cast<ruleExecInfo_t**>(&arguments.front())) {
            **out = context;
            return SUCCESS();
        }
    }
    return ERROR(NO_MICROSERVICE_FOUND_ERR, "no microservice [" + name + "] in a stand-in zone");
}

extern "C" {

void rodsLog(int level, const char* formatStr, ...)
{
    va_list arguments;
    va_start(arguments, formatStr);
    char* text = nullptr;
    const int length = ::vasprintf(&text, formatStr, arguments);
    va_end(arguments);
    if (length < 0) {
        return;
    }
    try {
        zone::log_line(level_name(level), text);
    }
    catch (const std::exception&) {
        // A log that cannot be written must not end a plugin.
    }
    std::free(text);
}

int addRErrorMsg(struct ErrorStack* stack, const int status, const char* message)
{
    if (stack == nullptr || message == nullptr) {
        return SYS_NULL_INPUT;
    }
    auto** grown = static_cast<ErrorMessage**>(
        std::realloc(stack->errMsg, sizeof(ErrorMessage*) * static_cast<std::size_t>(stack->len + 1)));
    auto* entry = static_cast<ErrorMessage*>(std::calloc(1, sizeof(ErrorMessage)));
    if (grown == nullptr || entry == nullptr) {
        std::free(entry);
        return SYS_INTERNAL_ERR;
    }
    entry->status = status;
    zone::copy_to(entry->msg, message);
    stack->errMsg = grown;
    stack->errMsg[stack->len] = entry;
    ++stack->len;
    return 0;
}

// ---- key-value lists ------------------------------------------------------------------------------------------

char* getValByKey(const keyValPair_t* list, const char* keyword)
{
    if (list == nullptr || keyword == nullptr) {
        return nullptr;
    }
    for (int i = 0; i < list->len; ++i) {
        if (std::strcmp(list->keyWord[i], keyword) == 0) {
            return list->value[i];
        }
    }
    return nullptr;
}

int addKeyVal(keyValPair_t* list, const char* keyword, const char* value)
{
    if (list == nullptr || keyword == nullptr) {
        return SYS_NULL_INPUT;
    }
    const char* text = value == nullptr ? "" : value;
    for (int i = 0; i < list->len; ++i) {
        if (std::strcmp(list->keyWord[i], keyword) == 0) {
            std::free(list->value[i]);
            list->value[i] = ::strdup(text);
            return 0;
        }
    }
    const auto count = static_cast<std::size_t>(list->len + 1);
    list->keyWord = static_cast<char**>(std::realloc(list->keyWord, sizeof(char*) * count));
    list->value = static_cast<char**>(std::realloc(list->value, sizeof(char*) * count));
    list->keyWord[list->len] = ::strdup(keyword);
    list->value[list->len] = ::strdup(text);
    ++list->len;
    return 0;
}

int rmKeyVal(keyValPair_t* list, const char* keyword)
{
    if (list == nullptr || keyword == nullptr) {
        return 0;
    }
    for (int i = 0; i < list->len; ++i) {
        if (std::strcmp(list->keyWord[i], keyword) != 0) {
            continue;
        }
        std::free(list->keyWord[i]);
        std::free(list->value[i]);
        for (int k = i + 1; k < list->len; ++k) {
            list->keyWord[k - 1] = list->keyWord[k];
            list->value[k - 1] = list->value[k];
        }
        --list->len;
        return 0;
    }
    return 0;
}

int clearKeyVal(keyValPair_t* list)
{
    if (list == nullptr) {
        return 0;
    }
    for (int i = 0; i < list->len; ++i) {
        std::free(list->keyWord[i]);
        std::free(list->value[i]);
    }
    std::free(list->keyWord);
    std::free(list->value);
    std::memset(static_cast<void*>(list), 0, sizeof *list);
    return 0;
}

int freeGenQueryOut(genQueryOut_t** out)
{
    if (out == nullptr || *out == nullptr) {
        return 0;
    }
    for (int i = 0; i < (*out)->attriCnt && i < MAX_SQL_ATTR; ++i) {
        std::free((*out)->sqlResult[i].value);
    }
    std::free(*out);
    *out = nullptr;
    return 0;
}

// ---- rule parameters ------------------------------------------------------------------------------------------

int addMsParamToArray(msParamArray_t* array, const char* label, const char* type, void* in_out_struct, bytesBuf_t* buffer,
                      int replicate)
{
    if (array == nullptr || label == nullptr) {
        return SYS_NULL_INPUT;
    }
    if (replicate != 0) {
        return SYS_NOT_SUPPORTED; // copies of structures: nobody has asked for them yet
    }
    auto* parameter = static_cast<msParam_t*>(std::calloc(1, sizeof(msParam_t)));
    auto** grown = static_cast<msParam_t**>(
        std::realloc(array->msParam, sizeof(msParam_t*) * static_cast<std::size_t>(array->len + 1)));
    if (parameter == nullptr || grown == nullptr) {
        std::free(parameter);
        return SYS_INTERNAL_ERR;
    }
    parameter->label = ::strdup(label);
    parameter->type = type != nullptr ? ::strdup(type) : nullptr;
    parameter->inOutStruct = in_out_struct;
    parameter->inpOutBuf = buffer;
    array->msParam = grown;
    array->msParam[array->len] = parameter;
    ++array->len;
    return 0;
}

} // extern "C"
