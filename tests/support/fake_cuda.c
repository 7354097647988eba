/* A libcuda.so.1 that has one H200 and prints what it is asked to launch; x = 99 is refused. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared;
    void *stream;
    char *attributes;
    unsigned attribute_count;
} Config;

int cuGetProcAddress_v2(const char *name, void **found, int version, uint64_t flags, int *status) {
    *found = dlsym(dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD), name);
    if (status)
        *status = !*found;
    return 0;
}

int cuInit(unsigned flags) { return 0; }

int cuDeviceGetCount(int *count) {
    *count = 1;
    return 0;
}

int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, "NVIDIA H200", length);
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = 140000000000;
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 16 ? 132 : attribute == 75 ? 9 : 0;
    return 0;
}

int cuModuleLoadData(void **module, const char *image) {
    *module = (void *)0x11;
    return memcmp(image, "\177ELF", 4) ? 200 : 0;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
    printf("function %s\n", name);
    *function = (void *)0x22;
    return 0;
}

int cuFuncSetAttribute(void *function, int attribute, int value) {
    printf("attribute %d = %d\n", attribute, value);
    return 0;
}

int cuLaunchKernelEx(const Config *c, void *function, void **p, void **extra) {
    if (c->grid_x == 99)
        return 1;
    printf("grid %u %u %u of %u threads, %u bytes, stream %p\n", c->grid_x, c->grid_y, c->grid_z,
           c->block_x * c->block_y * c->block_z, c->shared, c->stream);
    for (unsigned n = 0; n < c->attribute_count; n++)
        printf("with %d = %d\n", *(int *)c->attributes, *(int *)(c->attributes + 8));
    printf("arguments %d %d, scratch %p %p\n", **(int **)p[0], *(int *)p[1], *(void **)p[2],
           *(void **)p[3]);
    fflush(stdout);
    return 0;
}
