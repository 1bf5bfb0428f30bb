/* A stand-in for NVIDIA's libnvidia-ml.so.1: the functions that llmjoules and pyJoules call, over scripted GPUs.
 *
 * LLMJOULES_NVML_STUB holds the script, one item a line, keys as key=value:
 *   init=CODE            nvmlInitWithFlags returns CODE
 *   gpu key=value ...    a GPU; its keys are those of struct gpu below, written by Gpu.line() in __init__.py
 * Power is base + wave·sin(2πt/wave_s) + pulse in the first half of every pulse_s + step from step_at on; t is
 * CLOCK_MONOTONIC, so that Python works out the true joules from the same formula. Without a script there is no driver.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NO_DRIVER = 9, LOST = 15 };
enum { POWER_INSTANT = 186, SCOPE_GPU = 0, SCOPE_MODULE = 1, MAX_GPUS = 16 };

struct gpu {
    char name[96], uuid[96];
    char mig_uuid[96];               /* its only MIG instance; empty: MIG is off */
    unsigned bus;
    int arch;                        /* as nvmlDeviceArchitecture_t; -1: not supported */
    double base, wave, wave_s, pulse, pulse_s, step, step_at;
    double tick, phase, jitter;      /* sensors are renewed at phase + k·tick + up to jitter seconds */
    double mean;                     /* a power reading is the mean of this long before the tick */
    double counter_mean;             /* the counter integrates the mean of this long; 0: the true power */
    double duty;                     /* the counter takes the last `duty` seconds of a tick for all of it; 0: sees all */
    double latency;                  /* a reading takes up to this long */
    double reset_at, lost_at, zero;  /* absolute; the total counts from `zero` */
    int energy;                      /* 0: not supported, 1: a counter, 2: stands at `stuck` mJ */
    int stuck;
    int usage, instant, module;      /* 0: not supported: GetPowerUsage, field 186 of scope GPU, of scope MODULE */
    int state;                       /* 0: no temperature, clocks, limit, processes */
    double seen_j;                   /* running sum of a duty-cycled counter, up to tick seen_k */
    int64_t seen_k;
};

static struct gpu gpus[MAX_GPUS];
static unsigned count, sessions;
static char script[16384];

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double noise(int64_t k) { /* uniform in [0, 1), the same for the same k */
    uint64_t x = (uint64_t)k * 0x9E3779B97F4A7C15u;
    x ^= x >> 31;
    x *= 0xBF58476D1CE4E5B9u;
    return (double)((x ^ (x >> 29)) >> 11) / 9007199254740992.0;
}

/* ---- the script: power, its integral, and what the sensors show of it ---- */

static double integral_j(const struct gpu *g, double t) {
    double j = g->base * t;
    if (g->wave) j -= g->wave * g->wave_s / (2 * M_PI) * cos(2 * M_PI * t / g->wave_s);
    if (g->pulse) {
        double n = t / g->pulse_s;
        j += g->pulse * g->pulse_s * (floor(n) / 2 + fmin(n - floor(n), 0.5));
    }
    return t > g->step_at ? j + g->step * (t - g->step_at) : j;
}

static double tick_s(const struct gpu *g, int64_t k) { return g->phase + k * g->tick + g->jitter * noise(k); }

static int64_t last_tick(const struct gpu *g, double t) {
    int64_t k = (int64_t)floor((t - g->phase) / g->tick);
    return tick_s(g, k) <= t ? k : k - 1;
}

static double counted_j(const struct gpu *g, double t) { /* the integral as the counter takes it */
    if (!g->counter_mean) return integral_j(g, t);
    double sum = 0; /* of a running mean: the mean of the integral over that long */
    for (int i = 0; i < 400; i++) sum += integral_j(g, t - g->counter_mean * (i + 0.5) / 400);
    return sum / 400;
}

static unsigned long long energy_mj(struct gpu *g, double t) {
    int64_t k = last_tick(g, t);
    double from = t >= g->reset_at ? g->reset_at : g->zero, seen = tick_s(g, k);
    if (g->energy == 2) return g->stuck;
    if (seen <= from) return 0;
    if (!g->duty) return 1000 * (counted_j(g, seen) - counted_j(g, from));
    if (!g->seen_k) g->seen_k = last_tick(g, from);
    for (; g->seen_k < k; g->seen_k++) {
        double end = tick_s(g, g->seen_k + 1), sees = (integral_j(g, end) - integral_j(g, end - g->duty)) / g->duty;
        g->seen_j += sees * (end - tick_s(g, g->seen_k));
    }
    return 1000 * g->seen_j;
}

static unsigned power_mw(const struct gpu *g, double t, double mean_s) {
    double seen = tick_s(g, last_tick(g, t));
    return 1000 * (integral_j(g, seen) - integral_j(g, seen - mean_s)) / mean_s;
}

/* ---- reading the script ---- */

static void take(struct gpu *g, const char *key, const char *value) {
    struct { const char *name; double *number; int *whole; char *text; } keys[] = {
        {"name", 0, 0, g->name}, {"uuid", 0, 0, g->uuid}, {"mig_uuid", 0, 0, g->mig_uuid},
        {"bus", 0, (int *)&g->bus, 0}, {"arch", 0, &g->arch, 0}, {"energy", 0, &g->energy, 0},
        {"stuck", 0, &g->stuck, 0}, {"usage", 0, &g->usage, 0}, {"instant", 0, &g->instant, 0},
        {"module", 0, &g->module, 0}, {"state", 0, &g->state, 0},
        {"base", &g->base, 0, 0}, {"wave", &g->wave, 0, 0}, {"wave_s", &g->wave_s, 0, 0},
        {"pulse", &g->pulse, 0, 0}, {"pulse_s", &g->pulse_s, 0, 0}, {"step", &g->step, 0, 0},
        {"step_at", &g->step_at, 0, 0}, {"tick", &g->tick, 0, 0}, {"phase", &g->phase, 0, 0},
        {"jitter", &g->jitter, 0, 0}, {"mean", &g->mean, 0, 0}, {"counter_mean", &g->counter_mean, 0, 0},
        {"duty", &g->duty, 0, 0}, {"latency", &g->latency, 0, 0}, {"reset_at", &g->reset_at, 0, 0},
        {"lost_at", &g->lost_at, 0, 0}, {"zero", &g->zero, 0, 0},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(keys[i].name, key)) continue;
        if (keys[i].number) *keys[i].number = atof(value);
        if (keys[i].whole) *keys[i].whole = atoi(value);
        if (keys[i].text) snprintf(keys[i].text, 96, "%s", value);
        return;
    }
    fprintf(stderr, "nvml stub: unknown key %s\n", key);
    abort();
}

static int read_script(void) {
    static int init;
    const char *text = getenv("LLMJOULES_NVML_STUB");
    if (!text) return NO_DRIVER;
    if (!strcmp(text, script)) return init; /* another session: the counters go on */
    snprintf(script, sizeof script, "%s", text);
    char copy[sizeof script], *lines, *words;
    memcpy(copy, script, sizeof copy);
    memset(gpus, 0, sizeof gpus);
    count = init = 0;
    for (char *line = strtok_r(copy, "\n", &lines); line; line = strtok_r(NULL, "\n", &lines)) {
        if (sscanf(line, "init=%d", &init) == 1) continue;
        struct gpu *g = &gpus[count++];
        strtok_r(line, "\t", &words); /* "gpu"; words are parted by tabs, for names have spaces */
        for (char *word = strtok_r(NULL, "\t", &words); word; word = strtok_r(NULL, "\t", &words)) {
            char *is = strchr(word, '=');
            *is = 0;
            take(g, word, is + 1);
        }
    }
    return init;
}

/* ---- what NVML offers; a handle points to its struct gpu, that of a MIG instance one byte further ---- */

#define GPU(handle) struct gpu *g = (struct gpu *)((uintptr_t)(handle) & ~(uintptr_t)1); \
    if (!sessions) return 1; \
    if (now_s() >= g->lost_at) return LOST

static void dawdle(const struct gpu *g) {
    if (g->latency) usleep(1e6 * g->latency * noise((int64_t)(now_s() * 1e6)));
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int code = read_script();
    sessions += code == OK;
    return code;
}
int nvmlShutdown(void) { return sessions ? (sessions--, OK) : 1; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stub"; }
unsigned nvmlStubSessions(void) { return sessions; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { return snprintf(text, size, "570.00"), OK; }
int nvmlDeviceGetCount_v2(unsigned *n) { return *n = count, OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **handle) {
    if (i >= count) return INVALID;
    GPU(&gpus[i]);
    return *handle = g, OK;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    for (unsigned i = 0; i < count; i++)
        if (!strcmp(gpus[i].uuid, uuid)) return nvmlDeviceGetHandleByIndex_v2(i, handle);
    return NOT_FOUND;
}
int nvmlDeviceGetUUID(void *h, char *text, unsigned size) {
    GPU(h);
    return snprintf(text, size, "%s", (uintptr_t)h & 1 ? g->mig_uuid : g->uuid), OK;
}
int nvmlDeviceGetName(void *h, char *text, unsigned size) { GPU(h); return snprintf(text, size, "%s", g->name), OK; }

struct pci { char old_id[16]; unsigned domain, bus, device, id, subsystem; char id_text[32]; };
int nvmlDeviceGetPciInfo_v3(void *h, struct pci *p) {
    GPU(h);
    memset(p, 0, sizeof *p);
    p->bus = g->bus;
    snprintf(p->id_text, sizeof p->id_text, "00000000:%02X:00.0", g->bus);
    return OK;
}
int nvmlDeviceGetArchitecture(void *h, unsigned *arch) {
    GPU(h);
    return g->arch < 0 ? NOT_SUPPORTED : (*arch = g->arch, OK);
}
int nvmlDeviceGetTotalEnergyConsumption(void *h, unsigned long long *mj) {
    GPU(h);
    dawdle(g);
    return g->energy ? (*mj = energy_mj(g, now_s()), OK) : NOT_SUPPORTED;
}
int nvmlDeviceGetPowerUsage(void *h, unsigned *mw) {
    GPU(h);
    dawdle(g);
    return g->usage ? (*mw = power_mw(g, now_s(), g->mean), OK) : NOT_SUPPORTED;
}

struct field { unsigned id, scope; long long time, latency; int type, code; union { double d; unsigned u; unsigned long long l; } value; };
int nvmlDeviceGetFieldValues(void *h, int n, struct field *fields) {
    GPU(h);
    dawdle(g);
    for (struct field *f = fields; f < fields + n; f++) {
        int has = f->id == POWER_INSTANT && (f->scope == SCOPE_GPU ? g->instant : f->scope == SCOPE_MODULE && g->module);
        f->code = has ? OK : NOT_SUPPORTED;
        f->type = 1;
        if (has) f->value.u = power_mw(g, now_s(), g->mean);
    }
    return OK;
}

int nvmlDeviceGetMigMode(void *h, unsigned *now, unsigned *later) {
    GPU(h);
    return g->arch >= 7 ? (*now = *later = *g->mig_uuid != 0, OK) : NOT_SUPPORTED;
}
int nvmlDeviceGetMaxMigDeviceCount(void *h, unsigned *n) { GPU(h); return *n = *g->mig_uuid ? 7 : 0, OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *h, unsigned i, void **handle) {
    GPU(h);
    return i ? NOT_FOUND : (*handle = (char *)g + 1, OK);
}

int nvmlDeviceGetEnforcedPowerLimit(void *h, unsigned *mw) { GPU(h); return g->state ? (*mw = 700000, OK) : NOT_SUPPORTED; }
int nvmlDeviceGetTemperature(void *h, int sensor, unsigned *c) { GPU(h); return g->state && !sensor ? (*c = 54, OK) : NOT_SUPPORTED; }
int nvmlDeviceGetClockInfo(void *h, int kind, unsigned *mhz) { GPU(h); return g->state ? (*mhz = kind == 1 ? 1980 : 2619, OK) : NOT_SUPPORTED; }
int nvmlDeviceGetCurrentClocksEventReasons(void *h, unsigned long long *bits) { GPU(h); return g->state ? (*bits = 0x24, OK) : NOT_SUPPORTED; }

struct process { unsigned pid; unsigned long long memory; unsigned gi, ci; };
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned *n, struct process *p) {
    GPU(h);
    if (!g->state) return NOT_SUPPORTED;
    if (!p) return *n = 2, TOO_SMALL;
    p[0].pid = getpid();
    p[1].pid = 1;
    return *n = 2, OK;
}
