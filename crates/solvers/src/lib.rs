//! The one run loop, MAP estimation, training and comparison methods
