// The program as one unit: compiled apart, the files would take three times as long, most of it for the same headers.

#include "attention.cu"
#include "convolution.cu"
#include "elementwise.cu"
#include "fusion.cu"
#include "images.cu"
#include "losses.cu"
#include "main.cu"
#include "products.cu"
#include "rows.cu"
#include "training.cu"
