"""The person parser: labels, keypoints and garment attributes of frames."""
