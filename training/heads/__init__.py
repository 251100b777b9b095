"""Heads trained on pairs of picture and defect mask: a U-Net that segments, a ResNet that tells kinds of defects."""
