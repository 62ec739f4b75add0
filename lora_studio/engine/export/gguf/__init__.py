"""GGUF files: conversion, importance matrix, quantization, and export without a merged model."""
