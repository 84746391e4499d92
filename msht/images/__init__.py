"""Images: reading, preprocessing, augmentation, quality."""
