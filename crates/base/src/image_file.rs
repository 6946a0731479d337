//! image_file
