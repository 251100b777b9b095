"""PyTorch side: the bases (nano, Stable Diffusion), fine-tuning (AnomalySD), and the pretraining of nano."""
