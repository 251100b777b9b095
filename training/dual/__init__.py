"""DualAnoDiff (Jin et al., 2024): one frozen UNet with two LoRA branches generates a picture and its anomaly part."""
