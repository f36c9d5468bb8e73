/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A server of which nothing is there but its log and the name of its library: loads the plugin and asks for a rule
 * engine. The arguments are null, so whoever touches them dies. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>

void rodsLog(int level, const char* format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("%d ", level);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

int main(int count, char** words)
{
    if (count != 2) {
        return 2;
    }
    void* library = dlopen(words[1], RTLD_LAZY | RTLD_LOCAL);
    if (!library) {
        printf("dlopen: %s\n", dlerror());
        return 3;
    }
    void* (*factory)(const void*, const void*) = (void* (*)(const void*, const void*)) dlsym(library, "plugin_factory");
    if (!factory) {
        printf("dlsym: %s\n", dlerror());
        return 4;
    }
    printf("made: %s\n", factory(NULL, NULL) ? "a rule engine" : "nothing");
    return 0;
}
