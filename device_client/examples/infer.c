/* The library from C: bring the model up to date if the network allows, then classify one example of zeros.
 * usage: example-infer STATE_DIR ORIGIN_URL TRUST_KEY_HEX MODEL INPUT_SIZE */
#include <stdio.h>
#include <stdlib.h>

#include "device_client/device/device_c.h"

int main(int argc, char** argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: %s STATE_DIR ORIGIN_URL TRUST_KEY_HEX MODEL INPUT_SIZE\n", argv[0]);
    return 2;
  }
  const char* keys[] = {argv[3]};
  ef_device_options options = {.struct_size = sizeof options,
                               .state_dir = argv[1],
                               .device_id = "example-c",
                               .device_class = "example",
                               .region = "local",
                               .model = argv[4],
                               .origin_url = argv[2],
                               .trusted_keys = keys,
                               .trusted_key_count = 1};
  ef_status status;
  ef_device* device = NULL;
  if (ef_device_open(&options, &device, &status) != EF_OK) {
    fprintf(stderr, "open: %s [%s]\n", status.message, status.reason);
    return 1;
  }
  ef_update_result update = {.struct_size = sizeof update};
  if (ef_device_update(device, &update, &status) != EF_OK) {
    fprintf(stderr, "update: %s [%s]; going on with what is on disk\n", status.message, status.reason);
  }
  size_t input_count = strtoul(argv[5], NULL, 10);
  float* input = calloc(input_count > 0 ? input_count : 1, sizeof *input);
  float output[1024];
  size_t output_count = sizeof output / sizeof output[0];
  int exit_code = 1;
  if (input != NULL && ef_device_infer(device, input, input_count, output, &output_count, &status) == EF_OK) {
    for (size_t i = 0; i < output_count; ++i) printf("%zu %g\n", i, (double)output[i]);
    exit_code = 0;
  } else {
    fprintf(stderr, "infer: %s [%s]\n", status.message, status.reason);
  }
  free(input);
  ef_device_close(device);
  return exit_code;
}
