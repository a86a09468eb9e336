"""The fusion engine: from source images to fused images."""
