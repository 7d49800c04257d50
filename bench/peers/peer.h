/* A parser beside ours: what `vos-bench parse` starts, and talks to by lines.
 *
 *   PROGRAM FILE...                     prints the names of its parsers in one line, then answers each line
 *                                       PARSER FILE NANOSECONDS    (FILE counts from 0)
 *                                       by the fastest time of a call in that while, or by "refused"
 *   PROGRAM --count N PARSER FILE...    parses each file N times and ends, for valgrind
 */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct parser {
    const char *name;
    /* Parses, looks whether all that was asked for is there, and gives everything back. */
    bool (*parse)(const char *bytes, size_t length);
};

struct message {
    char *bytes;
    size_t length;
};

/* Calls between two looks at the clock: 30 ns of looking are under 1 % of 100 of the shortest calls; many more, and
 * an interrupt falls into every lot. The same as in contenders.rs. */
enum { CALLS = 100 };

static void peer_die(const char *what, const char *which)
{
    fprintf(stderr, "%s: %s\n", what, which);
    exit(1);
}

static struct message peer_read(const char *path)
{
    struct message message = {malloc(65536), 0};
    FILE *file = fopen(path, "rb");
    if (!file || !message.bytes)
        peer_die("cannot read", path);
    message.length = fread(message.bytes, 1, 65535, file);
    message.bytes[message.length] = 0;
    fclose(file);
    return message;
}

static const struct parser *peer_find(const struct parser *parsers, const char *name)
{
    for (; parsers->name; parsers++)
        if (!strcmp(parsers->name, name))
            return parsers;
    peer_die("no such parser", name);
    return NULL;
}

static double peer_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

static double peer_fastest(const struct parser *parser, const struct message *message, double nanoseconds)
{
    double start = peer_now(), from = start, fastest = 1e18;
    do {
        for (int call = 0; call < CALLS; call++)
            parser->parse(message->bytes, message->length);
        double now = peer_now();
        if (now - from < fastest)
            fastest = now - from;
        from = now;
    } while (from - start < nanoseconds);
    return fastest / CALLS;
}

static void peer_count(const struct parser *parser, int calls, int files, char **paths)
{
    for (int file = 0; file < files; file++) {
        struct message message = peer_read(paths[file]);
        for (int call = 0; call < calls; call++)
            if (!parser->parse(message.bytes, message.length))
                peer_die("refused", paths[file]);
        free(message.bytes);
    }
}

static void peer_serve(const struct parser *parsers, int files, char **paths)
{
    struct message *messages = calloc(files + 1, sizeof *messages);
    for (int file = 0; file < files; file++)
        messages[file] = peer_read(paths[file]);
    for (const struct parser *parser = parsers; parser->name; parser++)
        printf("%s%s", parser == parsers ? "" : " ", parser->name);
    printf("\n");
    fflush(stdout);

    char name[32];
    int file;
    double nanoseconds;
    while (scanf("%31s %d %lf", name, &file, &nanoseconds) == 3) {
        const struct parser *parser = peer_find(parsers, name);
        if (file < 0 || file >= files)
            peer_die("no such file for", name);
        if (parser->parse(messages[file].bytes, messages[file].length))
            printf("%.2f\n", peer_fastest(parser, &messages[file], nanoseconds));
        else
            printf("refused\n");
        fflush(stdout);
    }
    for (int file = 0; file < files; file++)
        free(messages[file].bytes);
    free(messages);
}

/* `parsers` ends with one that has no name. */
static int peer_main(const struct parser *parsers, int argc, char **argv)
{
    if (argc > 4 && !strcmp(argv[1], "--count"))
        peer_count(peer_find(parsers, argv[3]), atoi(argv[2]), argc - 4, argv + 4);
    else
        peer_serve(parsers, argc - 1, argv + 1);
    return 0;
}

#endif
