//! The shapes that a phantom is made of. All tell the depth of a point below their surface, negative outside.

/// An ellipse; its depth is exact on the axes and near enough elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Ellipse {
    centre: [f32; 2],
    axes: [f32; 2],
    /// The direction of the first axis.
    along: [f32; 2],
}

impl Ellipse {
    /// Half axes along rows and columns, before the ellipse is turned by `angle` in radians.
    pub(super) fn new(centre: [f32; 2], axes: [f32; 2], angle: f32) -> Self {
        Self { centre, axes, along: [angle.cos(), angle.sin()] }
    }

    /// Distance from the centre in units of the half axes: 1 on the surface.
    pub(super) fn radius(&self, p: [f32; 2]) -> f32 {
        let d = [p[0] - self.centre[0], p[1] - self.centre[1]];
        let first = d[0] * self.along[0] + d[1] * self.along[1];
        let second = d[1] * self.along[0] - d[0] * self.along[1];
        (first / self.axes[0]).hypot(second / self.axes[1])
    }

    pub(super) fn depth(&self, p: [f32; 2]) -> f32 {
        (1.0 - self.radius(p)) * self.axes[0].min(self.axes[1])
    }

    /// The point on the surface in the direction `angle`, for an ellipse that is not turned.
    pub(super) fn surface(&self, angle: f32) -> [f32; 2] {
        [self.centre[0] + self.axes[0] * angle.cos(), self.centre[1] + self.axes[1] * angle.sin()]
    }

    /// The same, with the half axes times `factor`.
    pub(super) fn scaled(&self, factor: f32) -> Self {
        Self { axes: self.axes.map(|a| a * factor), ..*self }
    }
}

/// All points within a distance of a line.
#[derive(Clone, Copy)]
pub(super) struct Tube {
    pub(super) from: [f32; 2],
    pub(super) to: [f32; 2],
    pub(super) radius: f32,
}

impl Tube {
    pub(super) fn depth(&self, p: [f32; 2]) -> f32 {
        let line = [self.to[0] - self.from[0], self.to[1] - self.from[1]];
        let d = [p[0] - self.from[0], p[1] - self.from[1]];
        let length = line[0] * line[0] + line[1] * line[1];
        let t = ((d[0] * line[0] + d[1] * line[1]) / length.max(1e-12)).clamp(0.0, 1.0);
        self.radius - (d[0] - t * line[0]).hypot(d[1] - t * line[1])
    }
}
