/* libedgefleet_device for C. The same contract as device.h: everything works offline from what is on disk, calls block, no
 * hidden threads. Strings are UTF-8 and NUL-terminated; those handed in are copied, those in results belong to the result.
 * Functions return an ef_code; on failure *status (may be NULL) says more. Structs begin with their size, so that newer
 * libraries serve older callers.
 */
#ifndef EDGEFLEET_DEVICE_CLIENT_DEVICE_C_H
#define EDGEFLEET_DEVICE_CLIENT_DEVICE_C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* gRPC's canonical codes. */
typedef enum ef_code {
  EF_OK = 0,
  EF_CANCELLED = 1,
  EF_UNKNOWN = 2,
  EF_INVALID_ARGUMENT = 3,
  EF_DEADLINE_EXCEEDED = 4,
  EF_NOT_FOUND = 5,
  EF_ALREADY_EXISTS = 6,
  EF_PERMISSION_DENIED = 7,
  EF_RESOURCE_EXHAUSTED = 8,
  EF_FAILED_PRECONDITION = 9,
  EF_ABORTED = 10,
  EF_OUT_OF_RANGE = 11,
  EF_UNIMPLEMENTED = 12,
  EF_INTERNAL = 13,
  EF_UNAVAILABLE = 14,
  EF_DATA_LOSS = 15,
  EF_UNAUTHENTICATED = 16
} ef_code;

typedef struct ef_status {
  ef_code code;
  char reason[64];        /* stable, "NO_MODEL" */
  char message[512];      /* for people; cut to fit */
  int64_t retry_after_ms; /* -1: no hint */
} ef_status;

typedef struct ef_device ef_device;

/* When weights are in memory, and what of them counts as model memory; runtime/cache/load_mode.h says it in full. */
typedef enum ef_load_mode {
  EF_LOAD_MAPPED = 0,   /* from the first touch on */
  EF_LOAD_EAGER = 1,    /* all, before the model is used */
  EF_LOAD_LAZY = 2,     /* while an inference runs */
  EF_LOAD_STREAMING = 3 /* block by block: models larger than the memory run */
} ef_load_mode;

/* See DeviceOptions in device.h. Optional members may be NULL or 0 for the default named there. */
typedef struct ef_device_options {
  size_t struct_size; /* sizeof(ef_device_options) */
  const char* state_dir;
  const char* device_id;
  const char* device_class;
  const char* region;
  const char* os; /* optional */
  const char* model;
  const char* alias;   /* optional */
  const char* variant; /* optional */
  const char* origin_url;
  const char* fleet_address;       /* optional: no federated part without it */
  const char* const* trusted_keys; /* Ed25519 public keys, 64 hexadecimal digits each */
  size_t trusted_key_count;
  const char* delegate; /* optional */
  int threads;          /* optional */
  /* Callers built against the first header end here. */
  const char* const* enrolment_keys; /* optional: authorities that enrol devices, 64 hexadecimal digits each */
  size_t enrolment_key_count;        /* 0: takes part in no active round */
  const char* identity_certificate;  /* optional: a file */
  int require_active;                /* not 0: takes part in active rounds only */
  double corrupt_fraction;           /* optional: of a round's members that may collude with the server */
  uint32_t members_min;              /* optional: smallest round */
  uint32_t survivors_min;            /* optional: smallest sum */
  /* Callers built against the second header end here. */
  uint64_t model_memory_bytes_max; /* optional: of loaded models, weights and sessions */
  ef_load_mode load_mode;
} ef_device_options;

typedef struct ef_active_model {
  size_t struct_size;
  uint64_t version; /* 0: no model yet */
  char model[64];
  char variant[64];
} ef_active_model;

typedef struct ef_update_result {
  size_t struct_size;
  int changed;
  uint64_t from_version;
  uint64_t to_version;
  int by_delta;
  uint64_t bytes_transferred;
} ef_update_result;

typedef enum ef_network { EF_NETWORK_OFFLINE = 1, EF_NETWORK_METERED = 2, EF_NETWORK_UNMETERED = 3 } ef_network;

typedef struct ef_conditions {
  size_t struct_size;
  uint32_t battery_percent;
  int charging;
  ef_network network;
  int idle;
} ef_conditions;

/* The device's own labelled examples; the functions may be called many times and must be pure. */
typedef struct ef_examples {
  size_t struct_size;
  void* user;
  size_t size;         /* examples */
  size_t example_size; /* floats an example */
  void (*copy)(void* user, size_t index, float* out);
  int32_t (*label)(void* user, size_t index);
} ef_examples;

typedef enum ef_participation_kind {
  EF_NOT_NOW = 0,     /* this device's own policy says no */
  EF_REJECTED = 1,    /* the fleet has no work for it */
  EF_CONTRIBUTED = 2, /* its update went into a round */
  EF_NOT_COUNTED = 3  /* the round failed or went on without it */
} ef_participation_kind;

typedef struct ef_participation {
  size_t struct_size;
  ef_participation_kind kind;
  char round_id[65];
  char reason[64];
  int64_t retry_after_ms; /* do not call again sooner */
} ef_participation;

/* Needs no network. *device is NULL on failure. */
ef_code ef_device_open(const ef_device_options* options, ef_device** device, ef_status* status);
/* NULL is allowed. No other call on this device may be running. */
void ef_device_close(ef_device* device);

ef_code ef_device_active(ef_device* device, ef_active_model* active, ef_status* status);
ef_code ef_device_update(ef_device* device, ef_update_result* result, ef_status* status);
ef_code ef_device_rollback(ef_device* device, ef_status* status);

/* One example in, its outputs out. *output_count is the capacity on entry and what was written, or is needed, on return
 * (EF_OUT_OF_RANGE [OUTPUT_TOO_SMALL]). May run on several threads at once; EF_RESOURCE_EXHAUSTED when there is no memory for
 * one more. */
ef_code ef_device_infer(ef_device* device, const float* input, size_t input_count, float* output, size_t* output_count,
                        ef_status* status);

ef_code ef_device_participate(ef_device* device, const ef_conditions* conditions, const ef_examples* examples,
                              ef_participation* result, ef_status* status);

/* The public half of the device's identity, for its enrolment; made at the first call and kept in the state folder. */
ef_code ef_device_identity(ef_device* device, char hex[65], ef_status* status);

/* From any thread: ends a running update or participation soon, politely. The next call starts afresh. */
void ef_device_stop(ef_device* device);

/* "0.1.0" */
const char* ef_version(void);

#ifdef __cplusplus
}
#endif

#endif
