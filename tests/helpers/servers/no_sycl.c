/* Replaces the server's Intel GPU library and reports no such device. */

#include <stddef.h>

int ggml_backend_sycl_get_device_count(void)
{
    return 0;
}

void *ggml_backend_sycl_init(int device)
{
    (void)device;
    return NULL;
}

void *ggml_backend_sycl_buffer_type(int device)
{
    (void)device;
    return NULL;
}
